"""The types that a single value of a config may have, and the values that a text may name."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import InitVar
from pathlib import Path
from types import SimpleNamespace
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from config.check.generics import substitute

LEAF_TYPES = (bool, int, float, complex, str, bytes)
_WRAPPERS = (Annotated, Final, ClassVar)
_WRAPPER_NAMES = ("Required", "NotRequired", "ReadOnly")
# A parameter with such a name takes the path of a file or folder.
_PATH_NAME = re.compile(
    r"(.*_)?(\w*dir|root|path|file|filename|folder|checkpoint|ckpt|weights|from)s?"
)


def unwrap(annotation: Any) -> Any:
    """Returns an annotation without wrappers such as ``Annotated``, ``NewType`` or a type alias."""
    while True:
        inner = _unwrap_once(annotation)
        if inner is annotation:
            return annotation
        annotation = inner


def _unwrap_once(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in _WRAPPERS or getattr(origin, "_name", "") in _WRAPPER_NAMES:
        return get_args(annotation)[0]
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    if isinstance(annotation, InitVar):
        return annotation.type
    if isinstance(annotation, TypeVar):
        if annotation.__constraints__:
            return Union[annotation.__constraints__]  # noqa: UP007
        return Any if annotation.__bound__ is None else _get_bound(annotation)
    if type(annotation).__name__ == "TypeAliasType":  # `type Size = …` of Python 3.12
        return annotation.__value__
    if type(origin).__name__ == "TypeAliasType":  # `type Pair[T] = tuple[T, T]`
        types = dict(zip(origin.__type_params__, get_args(annotation), strict=False))
        return substitute(origin.__value__, types)
    return annotation


def _get_bound(variable: TypeVar) -> Any:
    """Returns the bound of a type parameter, also if it is written as text."""
    names = vars(sys.modules.get(variable.__module__, SimpleNamespace()))
    holder = SimpleNamespace(__annotations__={"bound": variable.__bound__})
    try:
        return get_type_hints(holder, names)["bound"]
    except Exception:  # an annotation may hold anything
        return Any


def leaf_accepts(kind: type, value: Any) -> bool:
    """Whether a value that is neither a list nor a mapping fits a class."""
    if find_named(kind, value) is not None:
        return True
    if isinstance(value, bool | str):
        return kind is type(value)
    if kind in (float, complex) and isinstance(value, int):
        return abs(value) < sys.float_info.max
    if kind is complex and isinstance(value, float):
        return True
    try:
        return isinstance(value, kind)
    except TypeError:  # a Protocol that only a type checker compares
        return True


def find_named(kind: Any, value: Any) -> Any:
    """Returns the enum member, path, torch.dtype or torch.device that a value names, or None."""
    if issubclass(kind, enum.Enum):
        if isinstance(value, str) and value in kind.__members__:
            return kind.__members__[value]
        same = [item for item in kind if item.value == value and type(item.value) is type(value)]
        return same[0] if same else None
    if not isinstance(value, str):
        return None
    if is_path_type(kind):
        made: Any = Path if inspect.isabstract(kind) else kind
        return made(os.path.expanduser(value))  # noqa: PTH111  (the check knows every user)
    if (kind.__module__, kind.__name__) == ("torch", "dtype"):
        found = getattr(importlib.import_module("torch"), value.removeprefix("torch."), None)
        return found if isinstance(found, kind) else None
    if (kind.__module__, kind.__name__) == ("torch", "device"):
        try:
            return kind(value)
        except RuntimeError:
            return None
    return None


def takes_text(kind: type) -> bool:
    """Whether a text may name an instance of a class; see ``find_named``."""
    is_of_torch = (kind.__module__, kind.__name__) in (("torch", "dtype"), ("torch", "device"))
    return issubclass(kind, enum.Enum) or is_path_type(kind) or is_of_torch


def is_path_type(kind: Any) -> bool:
    """Whether instances of a class are paths."""
    return kind is not None and issubclass(kind, os.PathLike) and not issubclass(kind, Mapping)


def is_path_name(name: str) -> bool:
    """Whether a parameter of this name takes a path: ``data_dir``, ``root``, ``init_from``."""
    return _PATH_NAME.fullmatch(name) is not None
