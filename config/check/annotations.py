"""Compares the values of a config with the annotations of parameters, and converts them."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_LISTS = (list, tuple, set, frozenset, Sequence)
# Where a class of these packages is wanted, a list or a mapping never does instead.
_KNOWN_PACKAGES = ("builtins", "collections", "enum", "numbers", "pathlib", "torch", "typing")


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a JSON-like ``value`` fits ``annotation``. True where that cannot be decided."""
    if annotation in (inspect.Parameter.empty, Any, object) or isinstance(annotation, str):
        return True
    if annotation is None or annotation is type(None):
        return value is None
    origin = get_origin(annotation)
    choices = get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(choice, value) for choice in choices)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in choices)
    kind = origin if origin is not None else annotation
    return not inspect.isclass(kind) or _class_accepts(kind, choices, value)


def _class_accepts(kind: type, items: tuple[Any, ...], value: Any) -> bool:
    """Whether ``value`` fits a class. ``items`` are the types in its brackets, as in list[int]."""
    if isinstance(value, str) and _find_named(kind, value) is not None:
        return True
    if isinstance(value, list):
        return _list_fits(kind, items, value)
    if isinstance(value, dict):
        return issubclass(dict, kind) or not _is_known(kind)
    if isinstance(value, bool | str):
        return kind is type(value)
    if kind is float and isinstance(value, int):
        return abs(value) < sys.float_info.max
    return isinstance(value, kind)


def _list_fits(kind: type, items: tuple[Any, ...], value: list[Any]) -> bool:
    kinds = [item for item in items if item is not Ellipsis]
    if kind is tuple and kinds and len(kinds) == len(items):  # tuple[int, str]: one type for each
        return len(kinds) == len(value) and all(map(accepts, kinds, value))
    is_list_like = issubclass(list, kind) or issubclass(kind, tuple | set | frozenset)
    if not is_list_like and _is_known(kind):
        return False
    return len(kinds) != 1 or all(accepts(kinds[0], item) for item in value)


def _is_known(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _KNOWN_PACKAGES


def _find_named(kind: type, text: str) -> Any:
    """Returns the enum member, path or torch.dtype that a text names; None if it names none."""
    if issubclass(kind, enum.Enum):
        if text in kind.__members__:
            return kind.__members__[text]
        return next((member for member in kind if member.value == text), None)
    if issubclass(kind, os.PathLike):
        return Path(text)
    if (kind.__module__, kind.__name__) == ("torch", "dtype"):
        found = getattr(importlib.import_module("torch"), text.removeprefix("torch."), None)
        return found if isinstance(found, kind) else None
    return None


def convert(annotation: Any, value: Any) -> Any:
    """Returns ``value``. A text becomes the enum member, path or dtype that is wanted."""
    if isinstance(value, list):
        return _convert_list(annotation, value)
    if not isinstance(value, str):
        return value
    choices = (annotation, *get_args(annotation))
    kinds: list[type] = [choice for choice in choices if inspect.isclass(choice)]
    if str in kinds:  # then text stays text, except for the names of an enum
        kinds = [kind for kind in kinds if issubclass(kind, enum.Enum)]
    for kind in kinds:
        found = _find_named(kind, value)
        if found is not None:
            return found
    return value


def _convert_list(annotation: Any, value: list[Any]) -> list[Any]:
    for choice in (annotation, *get_args(annotation)):
        if get_origin(choice) not in _LISTS:
            continue
        kinds = get_args(choice)
        is_per_item = get_origin(choice) is tuple and Ellipsis not in kinds
        if not is_per_item or len(kinds) != len(value):
            kinds = kinds[:1] * len(value)
        if kinds:
            return [convert(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return value


def describe_annotation(annotation: Any) -> str:
    """Formats an annotation as a person writes it: ``int | None``, ``'min' | 'max'``."""
    if get_origin(annotation) is Literal:
        return " | ".join(repr(choice) for choice in get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return " | ".join(annotation.__members__)
    if inspect.isclass(annotation) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")
