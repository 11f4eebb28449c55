"""Trees into one: ``extends``, overrides from the command line, and ``${key.path}``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from config.read.source import (
    MAX_DEPTH,
    MAX_VALUES,
    ConfigError,
    Finding,
    Keys,
    Mark,
    Tree,
    join_keys,
    parse_value,
    read_tree,
)
from utils.errors import did_you_mean

CONFIG_DIR = Path(__file__).parents[1]
SUFFIXES = (".json", ".yaml", ".yml")

SCHEMA = "schema.json"  # lies among the configs, for their editor
MAX_FILES = 100  # that one config extends, directly or through others
MAX_TEXT = 100_000  # characters of a text with its ${…} unfolded, which can double at each step

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def find_config(name: str | Path) -> Path:
    """The file that ``name`` means: as given, else in ``config/``; each with or without its suffix."""
    shown = (
        CONFIG_DIR.relative_to(Path.cwd()) if CONFIG_DIR.is_relative_to(Path.cwd()) else CONFIG_DIR
    )
    for folder in (Path(), shown):
        for suffix in ("", *SUFFIXES):
            path = folder / f"{name}{suffix}"
            if os.path.isfile(path):  # noqa: PTH113  (never raises, however long the name)
                return path
    if os.path.isdir(name):  # noqa: PTH112
        message = "is a folder; give a file, or `-r` to resume a run"
    else:
        known = sorted(
            path.name
            for path in CONFIG_DIR.iterdir()
            if path.suffix in SUFFIXES and path.name != SCHEMA
        )
        message = f"no such config, here or in config/{did_you_mean(str(name), known)}; there are: {', '.join(known)}"
    raise ConfigError.at(Mark(str(name)), message)


def load_tree(path: Path, above: tuple[Path, ...] = (), read: list[Path] | None = None) -> Tree:
    """Reads ``path`` and the files that it extends; of two values the extending file's wins.

    A key written as ``~key`` takes ``key`` away from what was inherited.

    Args:
        path: of the file.
        above: the files that extend this one, from the first to the last.
        read: all that have been read so far.

    Raises:
        ConfigError: everything that is wrong in any of them, each with its own file and line.
    """
    read = [] if read is None else read
    read.append(path)
    tree = read_tree(path)
    tree.data.pop("$schema", None)  # the editor's
    bases = tree.data.pop("extends", None)
    if bases is None:
        return tree
    merged, findings = Tree({}), []
    for name in bases if isinstance(bases, list) else [bases]:
        try:
            _merge(
                merged,
                load_tree(
                    _base(tree, path, name, above, len(read)), (*above, path.resolve()), read
                ),
                (),
            )
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)
    _merge(merged, tree, ())
    return merged


def _base(tree: Tree, path: Path, name: Any, above: tuple[Path, ...], n_read: int) -> Path:
    """The file that ``name`` in the ``extends`` of ``path`` means. Raises ConfigError."""
    base = path.parent / str(name)
    if not isinstance(name, str) or not os.path.isfile(base):  # noqa: PTH113
        siblings = (file.name for file in path.parent.iterdir() if file.suffix in SUFFIXES)
        raise tree.error(("extends",), f"no such file: {base}{did_you_mean(str(name), siblings)}")
    if base.resolve() in (*above, path.resolve()):
        raise tree.error(
            ("extends",), f"a circle: {base} extends this file, directly or through others"
        )
    if n_read >= MAX_FILES:
        raise tree.error(("extends",), f"more than {MAX_FILES} files in all")
    return base


def _merge(into: Tree, tree: Tree, keys: Keys) -> None:
    into.replaced |= tree.replaced
    here, new = step_down(into.data, keys), step_down(tree.data, keys)
    for key, value in new.items():
        path = (*keys, key)
        if key.startswith("~"):
            if key[1:] not in here:
                raise tree.error(
                    path,
                    f"there is no inherited '{key[1:]}' to take away{did_you_mean(key[1:], here)}",
                )
            del here[key[1:]]
        elif isinstance(value, dict) and isinstance(here.get(key), dict):
            into.marks[path] = tree.marks.get(path) or into.marks[path]
            _merge(into, tree, path)
        else:
            if key in here:
                into.replace(path, here[key])
            if isinstance(here.get(key), dict | list):
                into.marks = {
                    old: mark for old, mark in into.marks.items() if old[: len(path)] != path
                }
            if isinstance(value, dict | list):
                into.marks |= {
                    where: mark for where, mark in tree.marks.items() if where[: len(path)] == path
                }
            elif path in tree.marks:
                into.marks[path] = tree.marks[path]
            here[key] = deepcopy(value)


def step_down(node: Any, keys: Iterable[str | int]) -> Any:
    """The value at ``keys``, where lists take indices. Raises KeyError with a hint at the key that was meant, or ''."""
    for key in keys:
        try:
            if isinstance(node, list) and not str(key).isdecimal():
                raise IndexError(key)  # -1 is no place that a reader would look for
            node = node[int(key)] if isinstance(node, list) else node[str(key)]
        except (KeyError, IndexError, TypeError, ValueError):
            raise KeyError(did_you_mean(str(key), node) if isinstance(node, dict) else "") from None
    return node


def apply_override(tree: Tree, text: str) -> None:
    """Sets ``a.b.c=VALUE``, or takes ``~a.b.c`` away."""
    key, equals, value = text.partition("=")
    keys: Keys = tuple(key.removeprefix("~").split("."))
    if len(keys) > MAX_DEPTH or "" in keys or bool(equals) == key.startswith("~"):
        raise ConfigError.at(
            Mark(text), "an override is written KEY=VALUE, as in trainer.epochs=2, or ~KEY"
        )
    if equals:
        keys = set_value(tree, keys, parse_value(value), Mark(text))
        tree.raw[keys] = value
        return
    try:
        parent = step_down(tree.data, keys[:-1])
        step_down(parent, keys[-1:])
    except KeyError as error:
        raise ConfigError.at(
            Mark(text), f"there is no such key to take away{error.args[0]}"
        ) from None
    del parent[int(keys[-1]) if isinstance(parent, list) else keys[-1]]


def set_value(tree: Tree, keys: Keys, value: Any, mark: Mark) -> Keys:
    """Sets one value, and makes the sections on the way that are missing.

    Returns:
        ``keys`` with the numbers of list items as integers.
    """
    node: Any = tree.data
    path: Keys = ()
    key: Any
    for depth, key in enumerate(keys, start=1):
        if isinstance(node, list):
            if not str(key).isdecimal() or int(key) >= len(node):
                raise ConfigError.at(
                    mark, f"this list takes an index from 0 to {len(node) - 1}", (*path, key)
                )
            key = int(key)
        elif not isinstance(node, dict):
            raise ConfigError.at(
                mark, f"{join_keys(path)} is the value {node!r} and has no keys", (*path, key)
            )
        path = (*path, key)
        if depth < len(keys):
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            node = node[key]
    if isinstance(node, list) or key in node:
        tree.replace(path, node[key])
    node[key] = value
    tree.marks = {
        old: old_mark for old, old_mark in tree.marks.items() if old[: len(path)] != path
    } | {path: mark}
    return path


def interpolate(tree: Tree) -> set[str]:
    """Replaces every ``${key.path}`` by the value of that key; a string that is only that takes any type.

    Returns:
        The top-level keys that were used so.
    """
    used: set[str] = set()
    found: list[Finding] = []
    values = unfolded = 0

    def fetch(path: str, keys: Keys, above: tuple[str, ...]) -> Any:
        if len(above) > MAX_DEPTH:
            raise tree.error(keys, f"${{{path}}}: a chain of more than {MAX_DEPTH}")
        if path in above:
            raise tree.error(keys, f"${{{path}}} goes in a circle: {' -> '.join((*above, path))}")
        try:
            value = step_down(tree.data, path.split("."))
        except KeyError as error:
            raise tree.error(
                keys, f"${{{path}}}: the config has no such key{error.args[0]}"
            ) from None
        used.add(path.partition(".")[0])
        return walk(value, keys, (*above, path))

    def walk(node: Any, keys: Keys, above: tuple[str, ...] = ()) -> Any:
        nonlocal values, unfolded
        values += 1
        if values > MAX_VALUES:
            raise tree.error(keys, f"more than {MAX_VALUES:,} values when all ${{…}} are unfolded")
        if isinstance(node, dict):
            return {key: walk(value, (*keys, key), above) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*keys, index), above) for index, value in enumerate(node)]
        if not isinstance(node, str):
            return node
        try:
            if whole := _REFERENCE.fullmatch(node):
                return fetch(whole[1].strip(), keys, above)
            text = _REFERENCE.sub(lambda match: str(fetch(match[1].strip(), keys, above)), node)
            unfolded += len(text) * (text != node)
            if len(text) > MAX_TEXT or unfolded > 10 * MAX_TEXT:
                raise tree.error(
                    keys, f"longer than {MAX_TEXT:,} characters when its ${{…}} are unfolded"
                )
            return text
        except ConfigError as error:
            if above:
                raise
            found.extend(error.findings)

    data = walk(tree.data, ())
    if found:
        raise ConfigError(found)
    tree.data = data
    return used
