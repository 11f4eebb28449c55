"""Mistakes made in the values of a config: each is certainly one, and comes with the key path that must be told."""

from __future__ import annotations

import copy
import math
import string
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.known import (
    PLAIN,
    REQUIRED,
    SECTIONS,
    TOP,
    Part,
    find,
    logged,
    parameters,
    parts,
    takes_list,
    trainer_options,
    wrong_values,
)
from tests.fuzz.render import Keys, members


class Change(NamedTuple):
    """A config with one mistake.

    Attributes:
        data: all values, the mistake among them.
        keys: where the mistake is.
        also: key paths that may be told in place of ``keys``, as good as it.
        meant: what a suggestion may say, for a one-letter typo.
        format: the only one, ``.json`` or ``.yaml``, in which it is a mistake.
    """

    kind: str
    data: dict[str, Any]
    keys: Keys
    also: tuple[Keys, ...] = ()
    meant: tuple[str, ...] = ()
    format: str = ""

    @property
    def value(self) -> Any:
        return at(self.data, self.keys)


def at(data: Any, keys: Keys) -> Any:
    for key in keys:
        data = data[key]
    return data


def put(data: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    at(data, keys[:-1])[keys[-1]] = value
    return data


def drop(data: dict[str, Any], keys: Keys) -> dict[str, Any]:
    data = copy.deepcopy(data)
    del at(data, keys[:-1])[keys[-1]]
    return data


def rename(data: dict[str, Any], keys: Keys, new: str) -> dict[str, Any]:
    data = copy.deepcopy(data)
    holder = at(data, keys[:-1])
    items = [(new if key == keys[-1] else key, value) for key, value in holder.items()]
    holder.clear()
    holder.update(items)
    return data


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value that holds no other one."""
    if isinstance(value, dict | list):
        for key, item in members(value):
            yield from leaves(item, (*keys, key))
    else:
        yield keys, value


def typos(word: str, rng: Random, is_valid: Callable[[str], bool]) -> Iterator[str]:
    """One letter more, less, other, and two swapped; none of what ``is_valid`` takes."""
    for operation in ("insert", "delete", "replace", "swap"):
        for _ in range(20):
            place, letter = rng.randrange(len(word)), rng.choice(string.ascii_lowercase)
            end = {
                "insert": word[place:],
                "swap": word[place : place + 2][::-1] + word[place + 2 :],
            }
            typo = word[:place] + ("" if operation in ("delete", "swap") else letter)
            typo += end.get(operation, word[place + 1 :])
            if (
                typo != word
                and typo[:1].isalpha()
                and typo[-1:] not in ("", "_")
                and not is_valid(typo)
            ):
                yield typo
                break


def known_keys(data: dict[str, Any]) -> Iterator[tuple[Keys, Iterable[str]]]:
    """Every key that the program knows, and all that could stand beside it."""
    yield from (((key,), TOP) for key in data if key in TOP)
    for key in data["trainer"]:
        yield ("trainer", key), (*trainer_options(), "type")
    for part in parts(data):
        if isinstance(part.node, dict):
            beside = ("type", "args", "name") if part.slot == "metrics" else ("type", "args")
            yield from (((*part.keys, key), beside) for key in part.node)
        known, closed = parameters(part)
        if closed:
            yield from (((*part.keys, "args", key), known) for key in part.args)


def key_typos(data: dict[str, Any], rng: Random) -> Iterator[Change]:
    for keys, beside in known_keys(data):
        key = str(keys[-1])
        for typo in typos(key, rng, set(beside).__contains__):
            yield Change("key typo", rename(data, keys, typo), (*keys[:-1], typo), meant=(key,))


def name_typos(data: dict[str, Any], rng: Random) -> Iterator[Change]:
    named = list(parts(data))
    if "type" in data["trainer"]:
        named.append(Part(("trainer",), "trainer", data["trainer"], None))
    for part in named:
        meant = (part.name, *part.name.split("."))
        for typo in typos(
            part.name, rng, lambda name, slot=part.slot: find(name, slot) is not None
        ):
            if all(typo.split(".")):
                also = ((*part.keys, "type"),) if isinstance(part.node, str) else ()
                yield Change(
                    "name typo", put(data, part.name_keys, typo), part.name_keys, also, meant
                )


def monitor_typos(data: dict[str, Any], rng: Random) -> Iterator[Change]:
    mode, _, metric = data["trainer"].get("monitor", "off").partition(" ")
    if not metric or "type" in data["trainer"]:  # a trainer of one's own logs what it wants
        return
    for _ in range(4):
        for typo in typos(metric, rng, logged(data).__contains__):
            changed = put(data, ("trainer", "monitor"), f"{mode} {typo}")
            yield Change(
                "monitor typo", changed, ("trainer", "monitor"), meant=(metric, f"{mode} {metric}")
            )


def arguments(data: dict[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Every value with a parameter that takes it."""
    options = trainer_options()
    yield from ((("trainer", key), options[key]) for key in data["trainer"] if key in options)
    for part in parts(data):
        known, _ = parameters(part)
        yield from (((*part.keys, "args", key), known[key]) for key in part.args if key in known)


def wrong_types(data: dict[str, Any], _: Random) -> Iterator[Change]:
    def wrong(keys: Keys, *values: Any, also: tuple[Keys, ...] = ()) -> Iterator[Change]:
        yield from (Change("wrong type", put(data, keys, value), keys, also) for value in values)

    for key, kind in PLAIN.items():
        if key in data:
            yield from wrong(
                (key,),
                *[value for value in ("wrong", 7, 2.5, True, [1]) if type(value) is not kind],
            )
    for key in SECTIONS:
        if key in data:
            yield from wrong((key,), 5, True, ["wrong"], *([] if key == "loss" else ["Adam"]))
    yield from wrong(("trainer",), 5, "wrong", ["wrong"], None)
    if "metrics" in data:
        yield from wrong(("metrics",), "accuracy", 5, {"type": "accuracy"})
    for part in parts(data):
        if part.slot == "metrics":
            yield from wrong(part.keys, 5, None, ["wrong"])
        if isinstance(part.node, dict):
            yield from wrong((*part.keys, "type"), 5, None, ["wrong"], True)
        if part.args:
            yield from wrong((*part.keys, "args"), 5, "wrong", ["wrong"], True)
    for keys, parameter in arguments(data):
        yield from wrong(keys, *wrong_values(parameter))
        value = at(data, keys)
        if takes_list(parameter) and isinstance(value, list):
            place = len(value) - 1
            yield from wrong(
                (*keys, place), "wrong" if not isinstance(value[0], dict) else 5, also=(keys,)
            )


def deletions(data: dict[str, Any], _: Random) -> Iterator[Change]:
    for key in REQUIRED:
        yield Change("deletion", drop(data, (key,)), (key,))
    yield Change("deletion", drop(data, ("trainer", "epochs")), ("trainer", "epochs"))
    for part in parts(data):
        if isinstance(part.node, dict):
            yield Change("deletion", drop(data, (*part.keys, "type")), (*part.keys, "type"))
        known, _closed = parameters(part)
        for key in part.args:
            if key in known and known[key].default is known[key].empty:
                keys = (*part.keys, "args", key)
                yield Change("deletion", drop(data, keys), keys)
                yield Change("deletion", drop(data, keys[:-1]), keys)


def bad_numbers(data: dict[str, Any], _: Random) -> Iterator[Change]:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    for keys, value in leaves(data):
        also = (keys[:-1],) if isinstance(keys[-1], int) else ()
        if is_number(value):
            yield Change("NaN", put(data, keys, math.nan), keys, also)
            yield Change("infinity", put(data, keys, math.inf), keys, also, format=".json")
    for keys, parameter in arguments(data):
        if parameter.annotation in (int, int | None):
            yield Change("infinity", put(data, keys, math.inf), keys, format=".yaml")


def moved_keys(data: dict[str, Any], _: Random) -> Iterator[Change]:
    """An argument in another part, or beside the ``args`` that it belongs into; a trainer's option in a part."""
    holders = [part for part in parts(data) if isinstance(part.node, dict)]
    keys = [(*part.keys, "args", key) for part in holders for key in part.args]
    for source in [*keys, *[("trainer", key) for key in data["trainer"]], ("seed",)]:
        if source == ("seed",) and "seed" not in data:
            continue
        for part in holders:
            known, closed = parameters(part)
            inside = part.keys == source[: len(part.keys)]
            nested = source == part.keys[: len(source)]
            places = [(*part.keys, source[-1])] if source[-1] not in ("type", "name") else []
            if closed and not inside and "args" in part.node and source[-1] not in known:
                places.append((*part.keys, "args", source[-1]))
            for target in [] if nested else places:
                yield Change("moved key", drop(put(data, target, at(data, source)), source), target)


def contradictions(data: dict[str, Any], _: Random) -> Iterator[Change]:
    """What is right in itself, and wrong as a whole."""
    monitor, split = ("trainer", "monitor"), ("data_loader", "args", "validation_split")
    mode, _space, metric = data["trainer"].get("monitor", "off").partition(" ")
    plain = "type" not in data["trainer"]
    if metric and data["trainer"].get("early_stop"):
        early = ("trainer", "early_stop")
        yield Change("contradiction", drop(data, monitor), early, also=(monitor,))
        yield Change("contradiction", put(data, monitor, "off"), early, also=(monitor,))
    if data.get("lr_scheduler", {}).get("type") == "ReduceLROnPlateau":
        yield Change(
            "contradiction",
            drop(data, monitor),
            ("lr_scheduler",),
            also=(monitor, ("lr_scheduler", "type")),
        )
    for text in ("val_loss", f"{mode}x {metric}", f"{mode}", f"{metric} {mode}") if metric else ():
        yield Change("contradiction", put(data, monitor, text), monitor)
    if metric.startswith("val_") and split[-1] in data["data_loader"]["args"] and plain:
        yield Change("contradiction", drop(data, split), monitor, also=(split,))
    if metric.startswith("val_ema_"):
        yield Change("contradiction", put(data, ("trainer", "ema_decay"), None), monitor)
    for index, node in enumerate(data.get("metrics", []) if plain else []):
        if metric.endswith(str(node.get("name", node["type"]) if isinstance(node, dict) else node)):
            yield Change("contradiction", drop(data, ("metrics", index)), monitor)
    if "valid_data_loader" in data:
        yield Change("contradiction", put(data, split, 0.1), split, also=(("valid_data_loader",),))
    if data["trainer"].get("len_epoch"):
        warmup = ("trainer", "warmup_steps")
        yield Change("contradiction", put(data, warmup, 10**6), warmup)
    if "${my_epochs}" in data["trainer"].values():
        yield Change("contradiction", drop(data, ("my_epochs",)), ("trainer", "epochs"))


def reference_typos(data: dict[str, Any], rng: Random) -> Iterator[Change]:
    for keys, value in leaves(data):
        if isinstance(value, str) and value.startswith("${"):
            name = value[2:-1]
            for typo in typos(name, rng, data.__contains__):
                yield Change("reference typo", put(data, keys, f"${{{typo}}}"), keys, meant=(name,))


MAKERS = (
    key_typos,
    name_typos,
    monitor_typos,
    reference_typos,
    wrong_types,
    deletions,
    bad_numbers,
    moved_keys,
    contradictions,
)
