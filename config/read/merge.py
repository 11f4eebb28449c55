"""Finds config files, follows ``extends``, and applies overrides: several trees become one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from config.read.source import MAX_DEPTH, parse_value, read_tree
from config.read.tree import ConfigError, Finding, Keys, Mark, Tree, join_keys, split_words
from utils.errors import did_you_mean
from utils.files import expand_home

CONFIG_DIR = Path(__file__).parents[1]
SUFFIXES = (".json", ".yaml", ".yml")
SCHEMA_FILE = "schema.json"  # for editors; in the folder of the configs, but not a config
MAX_FILES = 100  # that one config extends, directly or through others


def find_config(name: str | Path) -> Path:
    """Returns the file at the path ``name``, or else in ``config/``. The suffix is optional.

    Raises:
        ConfigError: there is no such file.
    """
    name = expand_home(name)
    is_below = CONFIG_DIR.is_relative_to(Path.cwd())
    config_dir = CONFIG_DIR.relative_to(Path.cwd()) if is_below else CONFIG_DIR
    for folder in (Path(), config_dir):
        for suffix in ("", *SUFFIXES):
            path = folder / f"{name}{suffix}"
            if _is_file(path):
                return path
    if os.path.isdir(name):  # noqa: PTH112  (Path.is_dir may raise)
        message = "is a folder; give a file, or `-r` to resume a run"
    else:
        known = sorted(path.name for path in list_configs(CONFIG_DIR) if path.name != SCHEMA_FILE)
        message = f"no such config, here or in config/{did_you_mean(str(name), known)}"
        message += f"; there are: {', '.join(known)}"
    raise ConfigError.at(Mark(str(name)), message)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file may raise)


def list_configs(folder: Path) -> list[Path]:
    """Returns the files in ``folder`` whose suffix is that of a config."""
    return [path for path in folder.iterdir() if path.suffix in SUFFIXES]


def list_config_names(config: Any) -> list[str]:
    """Lists what ``-c`` names: nothing, one file, or several with argparse's action ``append``."""
    if config is None:
        return []
    return list(config) if isinstance(config, list | tuple) else [config]


def load_configs(names: Iterable[str]) -> Tree:
    """Reads the configs with these names. The values of a config replace those of earlier ones.

    Raises:
        ConfigError: a file is missing or has mistakes; the error lists those of all files.
    """
    findings: list[Finding] = []
    paths: list[Path] = []
    tree = Tree({})
    for name in names:
        try:
            paths.append(find_config(name))
        except ConfigError as error:
            findings += error.findings
    try:
        tree = load_tree(*paths)
    except ConfigError as error:
        findings += error.findings
    if findings:
        raise ConfigError(findings)
    return tree


def load_tree(*paths: Path) -> Tree:
    """Reads files and those that they extend. The values of a file replace those of earlier ones.

    Every file is read once, after the files that it extends. So the lines of a base win over those
    that it inherits, even if another base inherits the same file. A key written as ``~key`` removes
    the inherited ``key``. A path whose file was read before, as a base or an earlier path, counts
    again, because the last path wins.

    Raises:
        ConfigError: a file has mistakes; the error lists those of all files, with their lines.
    """
    trees: dict[Path, Tree] = {}
    findings: list[Finding] = []
    order: list[Tree] = []
    for path in paths:
        known = trees.get(path.resolve())
        n_known = len(trees)
        try:
            _read_after_bases(path, (), trees)
        except ConfigError as error:
            findings += error.findings
        order += list(trees.values())[n_known:]
        if known is not None and order[-1] is not known:
            order.append(known)
    if findings:
        raise ConfigError(list(dict.fromkeys(findings)))
    merged = Tree({}, {(): order[0].marks[()]} if len(order) == 1 else {})
    for index, tree in enumerate(order):
        merge_tree(merged, tree, (), is_again=any(tree is other for other in order[:index]))
    return merged


def _read_after_bases(path: Path, above: tuple[Path, ...], trees: dict[Path, Tree]) -> None:
    """Adds ``path`` to ``trees``, after the files that it extends.

    Args:
        path: the file.
        above: the files that extend this one, the outermost first.
        trees: all files that have been read so far.
    """
    if path.resolve() in trees:
        return
    tree = read_tree(path)
    tree.data.pop("$schema", None)  # for editors
    bases = tree.data.pop("extends", None)
    if bases is None:
        bases = []
    names = bases if isinstance(bases, list) else [bases]
    above = (*above, path.resolve())
    findings: list[Finding] = []
    for name in names:
        try:
            base = _find_base(tree, path, name, above, len(trees) + len(above))
            _read_after_bases(base, above, trees)
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(list(dict.fromkeys(findings)))  # two bases may extend the same wrong file
    trees[path.resolve()] = tree


def _find_base(tree: Tree, path: Path, name: Any, above: tuple[Path, ...], n_read: int) -> Path:
    """Finds the file ``name``, which ``path`` extends. Raises ConfigError."""
    base = path.parent / expand_home(str(name))
    if path.is_symlink() and isinstance(name, str) and not _is_file(base):
        base = path.resolve().parent / expand_home(name)
    if not isinstance(name, str) or not _is_file(base):
        hint = did_you_mean(str(name), [file.name for file in list_configs(path.parent)])
        raise tree.error(("extends",), f"no such file: {base}{hint}")
    if base.resolve() in above:
        message = f"goes in a circle: {base} extends this file, directly or through others"
        raise tree.error(("extends",), message)
    if n_read >= MAX_FILES:
        raise tree.error(("extends",), f"more than {MAX_FILES} files in all")
    return base


def merge_tree(into: Tree, tree: Tree, keys: Keys, is_again: bool = False) -> None:
    """Merges the section at ``keys`` of ``tree`` into the one of ``into``.

    If ``is_again``, it was merged before, and what it removes may be gone.
    """
    old, new = get_value(into.data, keys), get_value(tree.data, keys)
    for key in new:
        if key.startswith("~"):  # first of all, so that its position does not matter
            _remove_inherited(into, tree, (*keys, key), is_again)
    for key, value in new.items():
        path = (*keys, key)
        if key.startswith("~"):
            continue
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if path in tree.marks:
                into.marks[path] = tree.marks[path]
            merge_tree(into, tree, path, is_again)
            continue
        if key in old:
            into.note_replaced(path, old[key])
        if isinstance(value, dict | list) or isinstance(old.get(key), dict | list):
            _move_marks(into, tree, path)
        elif path in tree.marks:
            into.marks[path] = tree.marks[path]
        old[key] = deepcopy(value)


def _remove_inherited(into: Tree, tree: Tree, keys: Keys, may_be_gone: bool) -> None:
    """Removes what ``~key``, at ``keys`` of ``tree``, names in ``into``."""
    section = get_value(into.data, keys[:-1])
    name = str(keys[-1]).removeprefix("~")
    if name not in section and may_be_gone:
        return
    if name not in section:
        hint = did_you_mean(name, section)
        raise tree.error(keys, f"there is no inherited '{name}' to remove{hint}")
    if get_value(tree.data, keys) not in (None, "", True):
        message = f"removes the inherited '{name}' and takes no value; set '{name}' beside it"
        raise tree.error(keys, message)
    del section[name]
    into.forget((*keys[:-1], name))


def _move_marks(into: Tree, tree: Tree, keys: Keys) -> None:
    """Replaces the marks of ``keys``, and of everything below, by those of ``tree``."""
    into.forget(keys)
    length = len(keys)
    into.marks |= {path: mark for path, mark in tree.marks.items() if path[:length] == keys}


def get_value(node: Any, keys: Iterable[str | int]) -> Any:
    """Returns the value at ``keys``; lists take indices from 0 on.

    Raises:
        KeyError: there is no such value. Its argument is a "did you mean" hint, or empty.
    """
    for key in keys:
        try:
            if isinstance(node, list):
                if not str(key).isdecimal():  # -1 is not the last item
                    raise IndexError(key)
                node = node[int(key)]
            else:
                node = node[str(key)]
        except (KeyError, IndexError, TypeError, ValueError):
            hint = did_you_mean(str(key), node) if isinstance(node, dict) else ""
            raise KeyError(hint) from None
    return node


def apply_override(tree: Tree, text: str) -> None:
    """Applies one override: ``a.b.c=VALUE`` sets a value, ``~a.b.c`` removes one.

    Raises:
        ConfigError: the override is malformed, or its key does not exist.
    """
    key, equals, value = _split_override(text)
    keys: Keys = tuple(split_words(key.removeprefix("~")))
    is_removal = key.startswith("~")
    if not 0 < len(keys) <= MAX_DEPTH or "" in keys or bool(equals) == is_removal:
        message = "an override is written KEY=VALUE, as in trainer.epochs=2, or ~KEY"
        raise ConfigError.at(Mark(text), message)
    if is_removal:
        _remove_value(tree, keys, Mark(text))
    else:
        keys = set_value(tree, keys, parse_value(value), Mark(text))
        tree.raw[keys] = value


def _split_override(text: str) -> tuple[str, str, str]:
    """Splits an override at the first ``=`` outside of the quotes in its key."""
    match = re.match(r'(?:[^="]|"[^"]*")*(?==|$)', text)
    if match is None:
        return text.partition("=")
    return match[0], text[match.end() :][:1], text[match.end() + 1 :]


def _remove_value(tree: Tree, keys: Keys, mark: Mark) -> None:
    try:
        parent = get_value(tree.data, keys[:-1])
        get_value(parent, keys[-1:])
    except KeyError as error:
        raise ConfigError.at(mark, f"there is no such key to remove{error.args[0]}") from None
    del parent[int(keys[-1]) if isinstance(parent, list) else keys[-1]]
    tree.forget(keys)


def set_value(tree: Tree, keys: Keys, value: Any, mark: Mark) -> Keys:
    """Sets one value, and makes the missing sections around it.

    Returns:
        ``keys`` with the indices of list items as integers.

    Raises:
        ConfigError: the keys lead through a plain value, or past the end of a list.
    """
    node: Any = tree.data
    path: Keys = ()
    for depth, word in enumerate(keys, start=1):
        key: Any = int(word) if isinstance(node, list) and str(word).isdecimal() else word
        if isinstance(node, list) and not (isinstance(key, int) and key < len(node)):
            message = f"this list takes an index from 0 to {len(node) - 1}"
            raise ConfigError.at(mark, message, (*path, key))
        if not isinstance(node, list | dict):
            message = f"{join_keys(path)} is the value {node!r} and has no keys"
            raise ConfigError.at(mark, message, (*path, key))
        path = (*path, key)
        if depth < len(keys):
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            node = node[key]
    if isinstance(node, list) or key in node:
        tree.note_replaced(path, node[key])
    node[key] = value
    tree.forget(path)
    tree.marks[path] = mark
    return path
