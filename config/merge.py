"""Trees into one: ``extends``, overrides from the command line, and ``${key.path}``."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

from utils.errors import nearest

from .source import ConfigError, Finding, Keys, Mark, Tree, dotted, parse_value, read_tree

CONFIG_DIR = Path(__file__).parent
SUFFIXES = (".json", ".yaml", ".yml")

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def find_config(name: str | Path) -> Path:
    """The file that ``name`` means: as given, else in ``config/``; each with or without its suffix."""
    shown = CONFIG_DIR.relative_to(Path.cwd()) if CONFIG_DIR.is_relative_to(Path.cwd()) else CONFIG_DIR
    for folder in (Path(), shown):
        for suffix in ("", *SUFFIXES):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
    if Path(name).is_dir():
        message = "is a folder; give a file, or `-r` to resume a run"
    else:
        known = sorted(path.name for path in CONFIG_DIR.iterdir() if path.suffix in SUFFIXES)
        message = f"no such config, here or in config/{nearest(str(name), known)}; there are: {', '.join(known)}"
    raise ConfigError([Finding(Mark(str(name)), (), message)])


def load_tree(path: Path, above: tuple[Path, ...] = ()) -> Tree:
    """Reads ``path`` and the files that it extends; of two values the extending file's wins.

    A key written as ``~key`` takes ``key`` away from what was inherited.
    """
    tree = read_tree(path)
    bases = tree.data.pop("extends", None)
    if bases is None:
        return tree
    merged = Tree({})
    for name in bases if isinstance(bases, list) else [bases]:
        base = path.parent / str(name)
        chain = (*above, path.resolve())
        if not isinstance(name, str) or not base.is_file():
            raise tree.error(("extends",), f"no such file: {base}")
        if base.resolve() in chain:
            raise tree.error(("extends",), f"a circle: {base} extends this file, directly or through others")
        _merge(merged, load_tree(base, chain), ())
    _merge(merged, tree, ())
    return merged


def _merge(into: Tree, tree: Tree, keys: Keys) -> None:
    here, new = _at(into.data, keys), _at(tree.data, keys)
    for key, value in new.items():
        path = (*keys, key)
        if isinstance(key, str) and key.startswith("~"):
            if key[1:] not in here:
                raise tree.error(path, f"there is no inherited '{key[1:]}' to take away{nearest(key[1:], here)}")
            del here[key[1:]]
        elif isinstance(value, dict) and isinstance(here.get(key), dict):
            into.marks[path] = tree.marks.get(path) or into.marks[path]
            _merge(into, tree, path)
        else:
            here[key] = deepcopy(value)
            for old in [old for old in into.marks if old[: len(path)] == path]:
                del into.marks[old]
            into.marks |= {where: mark for where, mark in tree.marks.items() if where[: len(path)] == path}


def apply_override(tree: Tree, text: str) -> None:
    """Sets ``a.b.c=VALUE``, or takes ``~a.b.c`` away."""
    key, equals, value = text.partition("=")
    keys: Keys = tuple(int(part) if part.isdigit() else part for part in key.lstrip("~").split("."))
    if "" in keys or (not equals and not key.startswith("~")):
        raise ConfigError([Finding(Mark(text), (), "an override is written KEY=VALUE, as in trainer.epochs=2")])
    if key.startswith("~"):
        parent = _at(tree.data, keys[:-1], tree, Mark(text))
        if not isinstance(parent, dict) or keys[-1] not in parent:
            raise ConfigError([Finding(Mark(text), keys, "there is no such key to take away")])
        del parent[keys[-1]]
        return
    set_value(tree, keys, parse_value(value), Mark(text))
    tree.raw[keys] = value


def set_value(tree: Tree, keys: Keys, value: Any, mark: Mark) -> None:
    """Sets one value; sections on the way that are missing are made."""
    node: Any = tree.data
    for depth, key in enumerate(keys[:-1]):
        if isinstance(node, dict) and node.get(str(key)) is None:
            node[str(key)] = {}
        node = _at(node, (key,), tree, mark, keys[: depth + 1])
    last = keys[-1]
    if isinstance(node, list) and (not isinstance(last, int) or last >= len(node)):
        raise ConfigError([Finding(mark, keys, f"a list of {len(node)} takes an index from 0 to {len(node) - 1}")])
    if not isinstance(node, dict | list):
        raise ConfigError([Finding(mark, keys, f"{dotted(keys[:-1])} is the value {node!r} and has no keys")])
    place: Any = str(last) if isinstance(node, dict) else last
    node[place] = value
    tree.marks[keys] = mark


def _at(node: Any, keys: Keys, tree: Tree | None = None, mark: Mark | None = None, shown: Keys | None = None) -> Any:
    for key in keys:
        try:
            node = node[str(key) if isinstance(node, dict) else key]
        except (KeyError, IndexError, TypeError):
            raise ConfigError([Finding(mark, shown or keys, f"there is no '{key}' here")]) from None
    return node


def interpolate(tree: Tree) -> None:
    """Replaces every ``${key.path}`` by the value of that key; a string that is only that takes any type."""
    found: list[Finding] = []

    def resolve(text: str, keys: Keys, open_paths: tuple[str, ...]) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return deepcopy(fetch(whole[1].strip(), keys, open_paths))
        return _REFERENCE.sub(lambda match: str(fetch(match[1].strip(), keys, open_paths)), text)

    def fetch(path: str, keys: Keys, open_paths: tuple[str, ...]) -> Any:
        if path in open_paths:
            circle = " -> ".join((*open_paths, path))
            raise tree.error(keys, f"${{{path}}} goes in a circle: {circle}")
        node: Any = tree.data
        for key in path.split("."):
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                choices = node if isinstance(node, dict) else ()
                raise tree.error(keys, f"${{{path}}}: the config has no such key{nearest(key, choices)}")
        return walk(node, keys, (*open_paths, path))

    def walk(node: Any, keys: Keys, open_paths: tuple[str, ...] = ()) -> Any:
        if isinstance(node, dict):
            return {key: walk(value, (*keys, key), open_paths) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*keys, index), open_paths) for index, value in enumerate(node)]
        if isinstance(node, str) and "${" in node:
            try:
                return resolve(node, keys, open_paths)
            except ConfigError as error:
                if open_paths:
                    raise
                found.extend(error.findings)
        return node

    data = walk(tree.data, ())
    if found:
        raise ConfigError(found)
    tree.data = data
