"""Completes words of a command line in a shell, by ``config/schema.json`` and the config named.

It imports neither torch nor the user's code, so that a key press is quick. The library argcomplete
talks to the shell; it is optional. Only ``parse_args`` imports this file, and only for the shell.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.check.json_values import Json
from config.read.merge import (
    CONFIG_DIR,
    SCHEMA_FILE,
    SUFFIXES,
    apply_override,
    get_value,
    list_config_names,
    list_configs,
    load_configs,
    load_tree,
)
from config.read.text import to_text
from config.read.tree import ConfigError, Tree
from utils.errors import UserError

HIDDEN_KEYS = ("$schema", "extends")  # only a file has them
JSON_CONSTANTS = {"boolean": (True, False), "null": (None,)}


def complete(parser: argparse.ArgumentParser) -> None:
    """Prints the completions that the shell asks for, and ends the program."""
    try:
        from argcomplete.finders import CompletionFinder
    except ImportError:
        sys.exit(1)  # the shell completes files; the program must not run because of a key press
    asked: list[argparse.Action] = []

    def complete_argument(
        prefix: str, action: argparse.Action, parsed_args: argparse.Namespace, **_: Any
    ) -> list[str]:
        asked.append(action)
        return complete_word(prefix, action.dest, parsed_args, action.type)

    class Finder(CompletionFinder):
        """Completes ``KEY=VALUE`` also behind an option, where argparse stops to expect it."""

        def collect_completions(self, parsers: Any, parsed_args: Any, prefix: str) -> list[str]:
            found: list[str] = super().collect_completions(parsers, parsed_args, prefix)
            if not asked and not prefix.startswith("-"):
                found += complete_word(prefix, "words", parsed_args)
            return [word for word in found if word.startswith(prefix)]

    completer: Any = complete_argument
    Finder()(parser, always_complete_options="long", default_completer=completer)


def complete_word(prefix: str, name: str, args: argparse.Namespace, kind: Any = None) -> list[str]:
    """Lists completions of an argument. Some may not begin with ``prefix``: the caller drops them.

    Args:
        prefix: the word so far.
        name: of the argument: ``config``, ``resume``, ``overrides``, …
        args: the arguments before it.
        kind: the type of the argument; None for text.
    """
    from argcomplete.completers import FilesCompleter

    command = vars(args).get("command")
    if name == "config" or (name == "words" and command == "diff"):
        names = [path.name for path in list_configs(CONFIG_DIR) if path.name != SCHEMA_FILE]
        files = FilesCompleter([suffix[1:] for suffix in SUFFIXES])(prefix)
        return [*names, *(file for file in files if prefix or not file.startswith("."))]
    if name in ("overrides", "words"):
        completer = Completer(read_tree_of(args))
        found = completer.complete_override(prefix, is_key=command == "explain")
        return [word for word in found if word.isprintable()]
    if name == "device":
        return ["cpu", "0"]
    if kind in (int, float) or name == "run_id":
        return []
    return list(FilesCompleter()(prefix))


def read_tree_of(args: argparse.Namespace) -> Tree:
    """Reads the configs and overrides on a command line so far, and ignores unreadable ones."""
    names = list_config_names(vars(args).get("config"))
    resume = vars(args).get("resume")
    tree = Tree({})
    with contextlib.suppress(UserError, OSError):
        if resume:
            folder = Path(resume) if Path(resume).is_dir() else Path(resume).parent
            tree = load_tree(folder / "config.json")
        if names or not resume:
            folders = [Path(name, "config.json") for name in names]
            names = [
                str(path) if path.is_file() else name
                for name, path in zip(names, folders, strict=True)
            ]
            tree = Tree(tree.data | load_configs(names if names else ["config.json"]).data)
    for word in vars(args).get("overrides") or vars(args).get("words") or ():
        with contextlib.suppress(ConfigError):
            apply_override(tree, word)
    return tree


class Completer:
    """Completes keys and values of a config by its JSON Schema.

    Args:
        tree: the values of the config, which decide what ``args`` may say.
        schema: the JSON Schema; that of this project by default.
    """

    def __init__(self, tree: Tree, schema: Json | None = None) -> None:
        self.data = tree.data
        if schema is None:
            schema = json.loads((CONFIG_DIR / SCHEMA_FILE).read_text(encoding="utf-8"))
        self.schema = schema

    def complete_override(self, prefix: str, is_key: bool = False) -> list[str]:
        """Lists the completions of ``KEY=VALUE`` or ``~KEY``; of ``KEY`` alone if ``is_key``."""
        key, equals, _ = prefix.partition("=")
        if equals:
            return [f"{key}={value}" for value in self._list_values(key)]
        if prefix.startswith("~"):
            return [f"~{name}" for name in self._complete_key(prefix[1:], "", only_set=True)]
        return self._complete_key(prefix, "" if is_key else "=")

    def _complete_key(self, prefix: str, ending: str, only_set: bool = False) -> list[str]:
        """Lists the keys in the section that ``prefix`` has reached.

        A section ends with a dot. If it is the only one, its keys are listed instead, because a
        shell ends a word that has only one completion.
        """
        parent = prefix.rpartition(".")[0]
        found = []
        for name, node in self._list_members(parent).items():
            key = f"{parent}.{name}" if parent else name
            if not key.startswith(prefix) or key in HIDDEN_KEYS:
                continue
            value = self._get_value(key)
            if only_set and value is None:
                continue
            is_section = bool(self._list_members(key))
            if is_section:
                found.append(f"{key}.")
            has_names = any(choice is not None for choice in self._find_values(node))
            if not is_section or only_set or not ending or has_names or isinstance(value, list):
                found.append(f"{key}{ending}")
        if len(found) == 1 and found[0].endswith("."):
            return self._complete_key(found[0], ending, only_set)
        return found

    def _list_members(self, key: str) -> dict[str, Json]:
        """Returns the schemas of the keys in a section, and of the items in a list."""
        node, value = self._find_node(key), self._get_value(key)
        if isinstance(value, list):
            items = [item.get("items", {}) for item in self._unfold(node) if "items" in item]
            return {str(index): {"anyOf": items} for index in range(len(value))}
        if value is not None and not isinstance(value, dict):
            return {}
        members: dict[str, Json] = {}
        for item in self._unfold(node):
            members |= item.get("properties", {})
            for case in item.get("allOf", ()):
                names = case["if"]["properties"]["type"]["enum"]
                if isinstance(value, dict) and value.get("type") in names:
                    members |= case["then"]["properties"]
        known = {name: members.get(name, {}) for name in value} if isinstance(value, dict) else {}
        return members | known

    def _find_node(self, key: str) -> Json:
        """Returns the schema of a key; an empty one if it is unknown."""
        if not key:
            return self.schema
        parent, _, name = key.rpartition(".")
        return self._list_members(parent).get(name, {})

    def _get_value(self, key: str) -> Any:
        try:
            return get_value(self.data, key.split(".") if key else ())
        except KeyError:
            return None

    def _unfold(self, node: Json) -> Iterator[Json]:
        """Yields a schema and all its alternatives, with the definitions that they refer to."""
        reference = node.get("$ref")
        if reference is not None:
            yield from self._unfold(self.schema["$defs"][reference.removeprefix("#/$defs/")])
        yield node
        for choice in node.get("anyOf", ()):
            yield from self._unfold(choice)

    def _list_values(self, key: str) -> list[str]:
        """Lists the values that a key may have, as far as they are known, and its value now."""
        node = self._find_node(key)
        now = self._get_value(key)
        values = [item["default"] for item in self._unfold(node) if "default" in item]
        values += self._find_values(node)
        values += [] if now is None or isinstance(now, dict | list) else [now]
        texts = [value if isinstance(value, str) else to_text(value) for value in values]
        return list(dict.fromkeys(texts))

    def _find_values(self, node: Json) -> Iterator[Any]:
        for item in self._unfold(node):
            yield from item.get("enum", ())
            if "const" in item:
                yield item["const"]
            types = item.get("type", ())
            for name, constants in JSON_CONSTANTS.items():
                if name in (types if isinstance(types, list) else [types]):
                    yield from constants
