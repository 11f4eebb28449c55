"""One-letter typos in the keys, names, monitor and references of a config."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from tests.fuzz.components import (
    TOP,
    Component,
    find,
    get_logged_names,
    get_parameters,
    get_trainer_options,
    list_components,
)
from tests.fuzz.mistakes import Mistake
from tests.fuzz.render import Keys
from tests.fuzz.values import list_leaves, put, rename


def make_typos(word: str, rng: Random, is_valid: Callable[[str], bool]) -> Iterator[str]:
    """Yields the word with one letter more, less, changed, and with two letters swapped.

    Args:
        word: without the typo.
        rng: chooses the letter.
        is_valid: leaves out a typo for which it returns True.
    """
    for operation in ("insert", "delete", "replace", "swap"):
        for _ in range(20):
            at, letter = rng.randrange(len(word)), rng.choice(string.ascii_lowercase)
            end = {"insert": word[at:], "swap": word[at : at + 2][::-1] + word[at + 2 :]}
            typo = word[:at] + ("" if operation in ("delete", "swap") else letter)
            typo += end.get(operation, word[at + 1 :])
            is_name = typo[:1].isalpha() and typo[-1:] not in ("", "_")
            if typo != word and is_name and not is_valid(typo):
                yield typo
                break


def list_known_keys(data: dict[str, Any]) -> Iterator[tuple[Keys, Iterable[str]]]:
    """Yields the path of every key that the program knows, and all keys valid in its mapping."""
    yield from (((key,), TOP) for key in data if key in TOP)
    for key in data["trainer"]:
        yield ("trainer", key), (*get_trainer_options(), "type")
    for component in list_components(data):
        if isinstance(component.node, dict):
            valid = ("type", "args", "name") if component.slot == "metrics" else ("type", "args")
            yield from (((*component.keys, key), valid) for key in component.node)
        known, is_complete = get_parameters(component)
        if is_complete:
            yield from (((*component.keys, "args", key), known) for key in component.args)


def key_typos(data: dict[str, Any], rng: Random) -> Iterator[Mistake]:
    for keys, valid in list_known_keys(data):
        key = str(keys[-1])
        for typo in make_typos(key, rng, set(valid).__contains__):
            yield Mistake("key typo", rename(data, keys, typo), (*keys[:-1], typo), meant=(key,))


def name_typos(data: dict[str, Any], rng: Random) -> Iterator[Mistake]:
    named = list(list_components(data))
    if "type" in data["trainer"]:
        named.append(Component(("trainer",), "trainer", data["trainer"], None))
    for component in named:
        keys, name = component.name_keys, component.name
        also = ((*component.keys, "type"),) if isinstance(component.node, str) else ()

        def exists(name: str, slot: str = component.slot) -> bool:
            return find(name, slot) is not None

        for typo in make_typos(name, rng, exists):
            if all(typo.split(".")):
                meant = (name, *name.split("."))
                yield Mistake("name typo", put(data, keys, typo), keys, also, meant)


def monitor_typos(data: dict[str, Any], rng: Random) -> Iterator[Mistake]:
    mode, _, metric = data["trainer"].get("monitor", "off").partition(" ")
    if not metric or "type" in data["trainer"]:  # a project's trainer logs names of its choice
        return
    keys, meant = ("trainer", "monitor"), (metric, f"{mode} {metric}")
    for _ in range(4):
        for typo in make_typos(metric, rng, get_logged_names(data).__contains__):
            yield Mistake("monitor typo", put(data, keys, f"{mode} {typo}"), keys, meant=meant)


def reference_typos(data: dict[str, Any], rng: Random) -> Iterator[Mistake]:
    for keys, value in list_leaves(data):
        if isinstance(value, str) and value.startswith("${"):
            name = value[2:-1]
            for typo in make_typos(name, rng, data.__contains__):
                changed = put(data, keys, f"${{{typo}}}")
                yield Mistake("reference typo", changed, keys, meant=(name,))
