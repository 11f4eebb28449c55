"""Finds the keys of a config that nothing has read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from config.check.closed_trainer import read_sources
from config.check.preflight import get_known_keys
from config.check.schema import Schema
from config.check.shapes import is_comment
from config.check.trainer_section import get_option_parameters, resolve_trainer
from config.read.section import get_read_keys
from config.read.tree import Keys, Tree


def find_unread_keys(
    tree: Tree, schema: Schema, referenced: Iterable[str], with_trainer: bool, is_saved: bool
) -> list[Keys]:
    """Returns the project's own keys that nothing has read so far.

    Args:
        tree: the config.
        schema: says which keys have a meaning.
        referenced: the top-level keys that a ``${…}`` has used.
        with_trainer: search ``trainer`` too. False if the trainer may read keys later.
        is_saved: whether the config is that of an earlier run, of which only overrides count.
    """
    known = {*get_known_keys(schema), *referenced}
    keys = [*_find_unread(tree.data, known, ()), *_find_unread_overrides(tree, known)]
    if with_trainer:
        section = tree.data["trainer"]
        _, signature = resolve_trainer(section, schema)
        known = {"type", *get_option_parameters(schema), *signature.parameters}
        keys += _find_unread(section, known, ("trainer",))
    if is_saved:  # no ${…} is left that would use a key
        keys = [path for path in keys if tree.is_overridden(path)]
    return keys


def may_be_read_later(keys: Keys, trainer_class: Any) -> bool:
    """Whether the code of a trainer names a key, which it may read in its loop."""
    if not inspect.isclass(trainer_class):
        return True
    named = re.compile(rf"""["'.]{re.escape(str(keys[-1]))}\b""")
    return any(source is None or named.search(source) for source in read_sources(trainer_class))


def _find_unread_overrides(tree: Tree, known: set[str]) -> list[Keys]:
    """Lists overrides inside the project's own sections of which other keys were read."""
    found = []
    for path in tree.raw:
        section: Any = tree.data
        for depth, key in enumerate(path):
            # Components are made of all their keys at once.
            if not isinstance(section, dict) or key not in section or "type" in section:
                break
            if depth and key not in get_read_keys(section):
                found.append(path[: depth + 1])
                break
            if not depth and (key in known or key not in get_read_keys(section)):
                break
            section = dict.get(section, key)
    return found


def _find_unread(section: Mapping[str, Any], known: set[str], above: Keys) -> list[Keys]:
    known = known | get_read_keys(section)
    # Iterating over the section itself would mark its keys as read.
    keys = [key for key in section.keys() if key not in known]  # noqa: SIM118
    return [(*above, key) for key in keys if not is_comment(key)]
