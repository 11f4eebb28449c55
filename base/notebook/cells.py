"""The classes and functions of a notebook's cells: their names in a config, and their source."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from config.check.project import USER_FOLDERS
from config.read.given import MARKER, GivenName
from config.read.tree import Keys, join_keys
from utils.errors import UserError


def to_config_value(value: Any, keys: Keys) -> Any:
    """Returns a value as a config has it: plain values, and names of classes and functions.

    Args:
        value: from a cell.
        keys: of the value, for errors.

    Raises:
        UserError: a config has no such values.
    """
    if value is None or type(value) in (bool, int, float, str, GivenName):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_config_value(item, (*keys, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_config_value(item, (*keys, index)) for index, item in enumerate(value)]
    if inspect.isclass(value) or inspect.isroutine(value):
        return make_name(value, keys)
    if isinstance(value, PurePath):
        return str(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return to_config_value(value.item(), keys)
    kind = type(value)
    message = f"a config takes plain values, classes and functions, not a {kind.__qualname__}"
    if kind.__module__ == "__main__" or hasattr(value, "forward"):
        message = f"is an object of {kind.__qualname__}; give the class: "
        message += f'{join_keys(keys)}={{"type": {kind.__qualname__}, "args": {{…}}}}'
    raise UserError(message, key=join_keys(keys))


def make_name(found: Any, keys: Keys) -> str:
    """Returns the name of a class or function: one that a command finds too, or a GivenName.

    Raises:
        UserError: it has no name.
    """
    name = getattr(found, "__name__", "")
    if not name.isidentifier():
        message = f"a function of a config needs a name; define it with `def`, not as {name}"
        raise UserError(message, key=join_keys(keys))
    return _find_public_name(found) or GivenName(f"{MARKER}{name}", found)


def _find_public_name(found: Any) -> str:
    """Returns the dotted name under which a command finds an object, or an empty string."""
    module, name = getattr(found, "__module__", None) or "", found.__qualname__
    if module == "__main__" or not all(word.isidentifier() for word in name.split(".")):
        return ""
    is_of_project = module.partition(".")[0] in USER_FOLDERS
    words = module.split(".")
    while words:
        value: Any = sys.modules.get(".".join(words))
        for word in name.split("."):
            value = getattr(value, word, None)
        is_public = not any(word.startswith("_") for word in (*words, *name.split(".")))
        # After an edit, a class of the project that a cell has imported before is an older one.
        if is_public and (value is found or is_of_project):
            return ".".join((*words, name))
        words.pop()
    return ""


def list_given(node: Any, keys: Keys = ()) -> Iterator[tuple[str, Any]]:
    """Yields the key and the object of each GivenName in the values of a config."""
    if isinstance(node, GivenName) and node.found is not None:
        yield join_keys(keys), node.found
    items = enumerate(node) if isinstance(node, list) else ()
    for key, value in dict.items(node) if isinstance(node, dict) else items:
        yield from list_given(value, (*keys, key))


def get_source(found: Any) -> str | None:
    """Returns the source of a class or function of a cell; None if it cannot be found."""
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):  # Python looks for a class of `__main__` in a file
        return _find_class_source(found) if inspect.isclass(found) else None


def _find_class_source(kind: type) -> str | None:
    """Finds the source of a class in the cell of one of its methods."""
    for item in vars(kind).values():
        function = inspect.unwrap(getattr(item, "__func__", item))
        if not isinstance(function, types.FunctionType):
            continue
        text = "".join(linecache.getlines(function.__code__.co_filename))
        line = function.__code__.co_firstlineno
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ClassDef) or node.name != kind.__name__:
                continue
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            if first <= line <= (node.end_lineno or line):
                return "".join(f"{row}\n" for row in text.splitlines()[first - 1 : node.end_lineno])
    return None
