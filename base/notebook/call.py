"""Call: the arguments of ``run()`` as a command line, and as values that no command line has."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from base.notebook.cells import list_given, to_config_value
from config.command_line import GivenValues
from config.read.merge import load_configs, merge_tree
from config.read.source import parse_value
from config.read.tree import Keys, Mark, Tree, join_keys
from utils.errors import UserError
from utils.provenance import ROOT

OPTIONS = {"resume": "-r", "run_id": "--run-id", "device": "-d"}


class Call(NamedTuple):
    """One call of ``run()``.

    Attributes:
        args: as argparse returns them, for ``ConfigParser.from_args``.
        command: the command that does the same; None if there is none.
    """

    args: argparse.Namespace
    command: list[str] | None

    @classmethod
    def from_arguments(
        cls,
        config: Any,
        overrides: Sequence[Any],
        options: Mapping[str, Any],
        sections: Mapping[str, Any],
    ) -> Call:
        """Reads the arguments of ``run()``.

        Raises:
            UserError: ``run`` does not take one of them.
        """
        if isinstance(config, str) and "=" in config:  # as `python train.py trainer.epochs=2`
            config, overrides = None, (config, *overrides)
        _check_overrides(overrides)
        words = {key: _to_word(key, value) for key, value in options.items()}
        start = _to_tree(config) if isinstance(config, Mapping) else None
        paths = _list_paths(config) if start is None else []
        data = {key: to_config_value(value, (key,)) for key, value in sections.items()}
        renewed = tuple(key for key, value in sections.items() if _names_object(value))
        data |= {key: {"type": data[key]} for key in renewed if not isinstance(data[key], dict)}
        marks = {keys: Mark(f"run({keys[0]}=…)") for keys in list_keys(data)}
        given = GivenValues(Tree(data, marks), renewed, start)
        args = argparse.Namespace(config=paths, overrides=[*overrides], given=given, **words)
        if start is not None or any(list_given(data)):
            return cls(args, None)
        typed = [word for path in paths for word in ("-c", path)]
        chosen = [(OPTIONS[key], word) for key, word in words.items() if word is not None]
        typed += [word for pair in chosen for word in pair]
        typed += [word for key in data for word in _list_words(data[key], (key,), renewed)]
        return cls(args, make_command([*typed, *overrides]))


def make_command(words: list[str]) -> list[str]:
    """Returns the command that trains with these arguments, from the current folder."""
    script = "train.py" if Path.cwd() == ROOT else str(ROOT / "train.py")
    return [sys.executable, script, *words]


def _to_word(key: str, value: Any) -> str | None:
    """Returns the value of an option as a command has it; None if it is not given."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return str(os.fspath(value))
    if key == "device" and type(value) is int:
        return str(value)
    raise UserError(f"{key}={value!r}: wants a text, as {OPTIONS[key]} of the command does")


def _list_paths(config: Any) -> list[str]:
    """Lists the config files that the first argument of ``run()`` names."""
    if config is None:
        return []
    paths = list(config) if isinstance(config, list | tuple) else [config]
    for path in paths:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            message = "run() wants the path of a config, a list of paths, or a dict"
            raise UserError(f"{message}, not {path!r}")
    return [str(os.fspath(path)) for path in paths]


def _check_overrides(overrides: Sequence[Any]) -> None:
    for word in overrides:
        if not isinstance(word, str) or word.startswith("-"):
            message = 'an override is a text, as "trainer.epochs=2" or "~lr_scheduler"'
            message += f"; the options of run() are the keywords {', '.join(OPTIONS)}"
            raise UserError(f"{word!r}: {message}")


def _to_tree(config: Mapping[str, Any]) -> Tree:
    """Returns the values of a dict, after those of the files that it extends."""
    data = to_config_value(config, ())
    data.pop("$schema", None)
    names = data.pop("extends", None)
    names = names if isinstance(names, list) else [] if names is None else [names]
    tree = load_configs(_list_paths(names)) if names else Tree({})
    merge_tree(tree, Tree(data, {keys: Mark("run({…})") for keys in list_keys(data)}), ())
    return tree


def _names_object(value: Any) -> bool:
    """Whether a keyword is a class or function, or a component whose type is one."""
    found = value.get("type") if isinstance(value, Mapping) else value
    return inspect.isclass(found) or inspect.isroutine(found)


def list_keys(node: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Yields the keys of each value in a tree, those of an outer value first."""
    if keys:
        yield keys
    items = enumerate(node) if isinstance(node, list) else ()
    for key, value in node.items() if isinstance(node, dict) else items:
        yield from list_keys(value, (*keys, key))


def _list_words(node: Any, keys: Keys, renewed: tuple[str, ...]) -> Iterator[str]:
    """Yields the overrides that set what a keyword sets."""
    if isinstance(node, dict) and keys[0] not in renewed:
        for key, value in node.items():
            yield from _list_words(value, (*keys, key), renewed)
    elif str(keys[-1]).startswith("~"):
        yield "~" + join_keys((*keys[:-1], str(keys[-1])[1:]))
    else:
        is_plain = isinstance(node, str) and parse_value(node) == node
        yield f"{join_keys(keys)}={node if is_plain else json.dumps(node, ensure_ascii=False)}"
