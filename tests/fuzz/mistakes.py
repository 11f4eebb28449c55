"""Configs with one mistake in their values, and the key path that its message must name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.components import (
    PLAIN,
    REQUIRED,
    SECTIONS,
    Component,
    get_parameters,
    get_trainer_options,
    get_wrong_values,
    list_components,
    takes_list,
)
from tests.fuzz.render import Keys
from tests.fuzz.values import drop, get, list_leaves, put


class Mistake(NamedTuple):
    """A config with one mistake.

    Attributes:
        kind: of mistake.
        data: all values of the config.
        keys: the path of the mistake.
        also: other paths that the message may name as well.
        meant: valid suggestions, for a one-letter typo.
        format: the only format, ``.json`` or ``.yaml``, in which it is a mistake; empty for both.
    """

    kind: str
    data: dict[str, Any]
    keys: Keys
    also: tuple[Keys, ...] = ()
    meant: tuple[str, ...] = ()
    format: str = ""

    @property
    def value(self) -> Any:
        return get(self.data, self.keys)


def list_arguments(data: dict[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Yields the path of every argument with the parameter that takes it."""
    options = get_trainer_options()
    yield from ((("trainer", key), options[key]) for key in data["trainer"] if key in options)
    for component in list_components(data):
        known, _ = get_parameters(component)
        taken = [key for key in component.args if key in known]
        yield from (((*component.keys, "args", key), known[key]) for key in taken)


def wrong_types(data: dict[str, Any], _: Random) -> Iterator[Mistake]:
    def wrong(keys: Keys, *values: Any, also: tuple[Keys, ...] = ()) -> Iterator[Mistake]:
        yield from (Mistake("wrong type", put(data, keys, value), keys, also) for value in values)

    for key, kind in PLAIN.items():
        if key in data:
            values = ("wrong", 7, 2.5, True, [1])
            yield from wrong((key,), *[value for value in values if type(value) is not kind])
    for key in SECTIONS:
        if key in data:
            yield from wrong((key,), 5, True, *([] if key == "loss" else ["Adam"]))
            also = ((key, 0, "type"),) if key == "loss" else ()  # which may be a list
            yield from wrong((key,), ["wrong"], also=also)
    yield from wrong(("trainer",), 5, "wrong", ["wrong"], None)
    if "metrics" in data:
        yield from wrong(("metrics",), "accuracy", 5, {"type": "accuracy"})
    for component in list_components(data):
        if component.slot == "metrics":
            yield from wrong(component.keys, 5, None, ["wrong"])
        if isinstance(component.node, dict):
            yield from wrong((*component.keys, "type"), 5, None, ["wrong"], True)
        if component.args:
            yield from wrong((*component.keys, "args"), 5, "wrong", ["wrong"], True)
    for keys, parameter in list_arguments(data):
        yield from wrong(keys, *get_wrong_values(parameter))
        value = get(data, keys)
        if takes_list(parameter) and isinstance(value, list):
            wrong_item = 5 if isinstance(value[0], dict) else "wrong"
            yield from wrong((*keys, len(value) - 1), wrong_item, also=(keys,))


def deletions(data: dict[str, Any], _: Random) -> Iterator[Mistake]:
    for key in REQUIRED:
        yield Mistake("deletion", drop(data, (key,)), (key,))
    yield Mistake("deletion", drop(data, ("trainer", "epochs")), ("trainer", "epochs"))
    for component in list_components(data):
        is_left_empty = component.node == {"type": component.name}  # which may mean none
        if isinstance(component.node, dict) and not is_left_empty:
            keys: Keys = (*component.keys, "type")
            yield Mistake("deletion", drop(data, keys), keys)
        known, _is_complete = get_parameters(component)
        for key in component.args:
            if key in known and known[key].default is known[key].empty:
                keys = (*component.keys, "args", key)
                yield Mistake("deletion", drop(data, keys), keys)
                yield Mistake("deletion", drop(data, keys[:-1]), keys)


def bad_numbers(data: dict[str, Any], _: Random) -> Iterator[Mistake]:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    for keys, value in list_leaves(data):
        also = (keys[:-1],) if isinstance(keys[-1], int) else ()
        if is_number(value):
            yield Mistake("NaN", put(data, keys, math.nan), keys, also)
            yield Mistake("infinity", put(data, keys, math.inf), keys, also, format=".json")
    for keys, parameter in list_arguments(data):
        if parameter.annotation in (int, int | None):
            yield Mistake("infinity", put(data, keys, math.inf), keys, format=".yaml")


def moved_keys(data: dict[str, Any], _: Random) -> Iterator[Mistake]:
    """Moves an argument, an option of the trainer, or ``seed`` into a component.

    It lands among the arguments of another component, or beside the ``args`` of any.
    """
    holders = [item for item in list_components(data) if isinstance(item.node, dict)]
    sources = [(*holder.keys, "args", key) for holder in holders for key in holder.args]
    sources += [("trainer", key) for key in data["trainer"]]
    sources += [("seed",)] if "seed" in data else []
    for source in sources:
        for holder in holders:
            if source == holder.keys[: len(source)]:  # the holder would move into itself
                continue
            for target in list_targets(source, holder):
                moved = drop(put(data, target, get(data, source)), source)
                yield Mistake("moved key", moved, target)


def list_targets(source: Keys, holder: Component) -> list[Keys]:
    """Returns the paths in a component where the value at ``source`` is certainly wrong."""
    known, is_complete = get_parameters(holder)
    key = source[-1]
    is_inside = holder.keys == source[: len(holder.keys)]
    targets: list[Keys] = [(*holder.keys, key)] if key not in ("type", "name") else []
    if is_complete and not is_inside and "args" in holder.node and key not in known:
        targets.append((*holder.keys, "args", key))
    return targets


def contradictions(data: dict[str, Any], _: Random) -> Iterator[Mistake]:
    """Values that are valid, and do not fit each other."""
    for changed, *keys in (*_monitor_contradictions(data), *_other_contradictions(data)):
        yield Mistake("contradiction", changed, keys[0], also=tuple(keys[1:]))


def _monitor_contradictions(data: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yields changed configs, each with the paths of which the message may name one."""
    monitor, split = ("trainer", "monitor"), ("data_loader", "args", "validation_split")
    mode, _, metric = data["trainer"].get("monitor", "off").partition(" ")
    if metric and data["trainer"].get("early_stop"):
        early_stop = ("trainer", "early_stop")
        yield drop(data, monitor), early_stop, monitor
        yield put(data, monitor, "off"), early_stop, monitor
    if data.get("lr_scheduler", {}).get("type") == "ReduceLROnPlateau":
        yield drop(data, monitor), ("lr_scheduler",), monitor, ("lr_scheduler", "type")
    for text in ("val_loss", f"{mode}x {metric}", f"{mode}", f"{metric} {mode}") if metric else ():
        yield put(data, monitor, text), monitor
    is_shipped_trainer = "type" not in data["trainer"]
    has_split = split[-1] in data["data_loader"]["args"]
    if metric.startswith("val_") and has_split and is_shipped_trainer:
        yield drop(data, split), monitor, split
    if metric.startswith("val_ema_"):
        yield put(data, ("trainer", "ema_decay"), None), monitor
    for index, node in enumerate(data.get("metrics", []) if is_shipped_trainer else []):
        name = str(node.get("name", node["type"]) if isinstance(node, dict) else node)
        if metric.endswith(name):
            yield drop(data, ("metrics", index)), monitor


def _other_contradictions(data: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    split, warmup = ("data_loader", "args", "validation_split"), ("trainer", "warmup_steps")
    if "valid_data_loader" in data:
        yield put(data, split, 0.1), split, ("valid_data_loader",)
    if data["trainer"].get("len_epoch"):
        yield put(data, warmup, 10**6), warmup
    if "${my_epochs}" in data["trainer"].values():
        yield drop(data, ("my_epochs",)), ("trainer", "epochs")
