"""What a signature's annotations say about the values of a config."""

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


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a JSON-like ``value`` fits ``annotation``; what cannot be judged fits."""
    if annotation in (inspect.Parameter.empty, Any, object) or isinstance(annotation, str):
        return True
    if annotation is None or annotation is type(None):
        return value is None
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(choice, value) for choice in choices)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in choices)
    kind = origin or annotation
    if not inspect.isclass(kind):
        return True
    if isinstance(value, str) and _named(kind, value) is not None:
        return True
    if isinstance(value, list):
        items = [choice for choice in choices if choice is not Ellipsis]
        if kind is tuple and items == list(choices) and items:
            return len(items) == len(value) and all(map(accepts, items, value))
        fits = (
            issubclass(list, kind)
            or issubclass(kind, tuple | set | frozenset)
            or not _is_known(kind)
        )
        return fits and (len(items) != 1 or all(accepts(items[0], item) for item in value))
    if isinstance(value, dict):
        return issubclass(dict, kind) or not _is_known(kind)
    if isinstance(value, bool | str):
        return kind is type(value)
    return isinstance(value, kind) or (
        kind is float and isinstance(value, int) and abs(value) < sys.float_info.max
    )


_LISTS = (list, tuple, set, frozenset, Sequence)
_KNOWN = ("builtins", "collections", "enum", "numbers", "pathlib", "torch", "typing")


def _is_known(kind: type) -> bool:
    """Whether it is certain that no list or mapping serves as a ``kind`` that is none."""
    return kind.__module__.partition(".")[0] in _KNOWN


def _named(kind: type, text: str) -> Any:
    """The object of type ``kind`` that a config can only name: an enum's member, a path, a ``torch.dtype``."""
    if issubclass(kind, enum.Enum):
        return kind.__members__.get(text) or next(
            (member for member in kind if member.value == text), None
        )
    if issubclass(kind, os.PathLike):
        return Path(text)
    if (kind.__module__, kind.__name__) == ("torch", "dtype"):
        found = getattr(importlib.import_module("torch"), text.removeprefix("torch."), None)
        return found if isinstance(found, kind) else None
    return None


def convert(annotation: Any, value: Any) -> Any:
    """``value``, or what it names where ``annotation`` wants an enum, a path or a dtype."""
    if isinstance(value, list):
        choices = [
            choice for choice in (annotation, *get_args(annotation)) if get_origin(choice) in _LISTS
        ]
        kinds: Any = get_args(choices[0]) if choices else ()
        by_place = bool(choices) and get_origin(choices[0]) is tuple and len(kinds) == len(value)
        kinds = kinds if by_place else kinds[:1] * len(value)
        return (
            [convert(kind, item) for kind, item in zip(kinds, value, strict=True)]
            if kinds
            else value
        )
    kinds = [kind for kind in (annotation, *get_args(annotation)) if inspect.isclass(kind)]
    if not isinstance(value, str):
        return value
    if str in kinds:  # text is fine, but for an enum's own names
        kinds = [kind for kind in kinds if issubclass(kind, enum.Enum)]
    found = [_named(kind, value) for kind in kinds]
    return next((item for item in found if item is not None), value)


def readable(annotation: Any) -> str:
    """An annotation as a person writes it: ``int | None``, ``'min' | 'max'``."""
    if get_origin(annotation) is Literal:
        return " | ".join(repr(choice) for choice in get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return " | ".join(annotation.__members__)
    if inspect.isclass(annotation) and not get_origin(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
