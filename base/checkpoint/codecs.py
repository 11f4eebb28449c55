"""Encodes and decodes values whose type ``torch.load(weights_only=True)`` refuses.

In a file, such a value is a dict with the keys ``saved_as`` and ``value``.
"""

from __future__ import annotations

import functools
import types
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SAVED_AS, VALUE = "saved_as", "value"
OBJECT, CODE = "object", "code"  # a file only describes these; the running training has them

FACTORIES = {kind.__name__: kind for kind in (int, float, bool, str, list, dict, set)}
FUNCTIONS = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType),
    *(types.ModuleType, functools.partial, np.ufunc, type),
)


class Codec(NamedTuple):
    """How values of a type are saved.

    Attributes:
        kind: the type; subclasses do not count, except for NumPy's numbers.
        encode: returns a value of other types, which can be saved; None if there is none.
        decode: the reverse.
    """

    kind: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _encode_array(array: Any) -> Any:
    if array.dtype.kind not in "biufc":
        return None
    return [array.dtype.str, list(array.shape), array.tobytes()]


def _decode_array(value: Any) -> Any:
    dtype, shape, data = value
    return np.frombuffer(data, np.dtype(str(dtype))).reshape(shape).copy()


def _encode_defaultdict(value: Any) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    return [name, dict(value)] if name is None or FACTORIES.get(name) is factory else None


def _decode_defaultdict(value: Any) -> Any:
    name, items = value
    return defaultdict(None if name is None else FACTORIES[name], items)


CODECS = {
    "numpy.ndarray": Codec(np.ndarray, _encode_array, _decode_array),
    "numpy.generic": Codec(np.generic, np.asarray, lambda array: array[()]),
    "pathlib.Path": Codec(type(Path()), str, Path),
    "collections.deque": Codec(
        deque, lambda value: [list(value), value.maxlen], lambda value: deque(*value)
    ),
    "collections.defaultdict": Codec(defaultdict, _encode_defaultdict, _decode_defaultdict),
    "frozenset": Codec(frozenset, list, frozenset),
    "set": Codec(set, list, set),  # with items that torch.load refuses
    "range": Codec(
        range, lambda value: [value.start, value.stop, value.step], lambda value: range(*value)
    ),
    "datetime.datetime": Codec(datetime, datetime.isoformat, datetime.fromisoformat),
    "datetime.date": Codec(date, date.isoformat, date.fromisoformat),
    "datetime.timedelta": Codec(
        timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda value: timedelta(*value),
    ),
}
PAIRS = "dict"  # a dict with keys that torch.load refuses, such as numbers of NumPy


def is_object(value: Any) -> bool:
    """Whether a value has a state of its own, such as a scheduler that another one holds."""
    kind = type(value)
    return not isinstance(value, type) and all(
        callable(getattr(kind, name, None)) for name in ("state_dict", "load_state_dict")
    )


def tag(kind: str, value: Any) -> dict[str, Any]:
    return {SAVED_AS: kind, VALUE: value}


def name_of_code(value: Any) -> str:
    """The name of a function, class or module."""
    if isinstance(value, functools.partial):
        return f"partial {name_of_code(value.func)}"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    return f"{getattr(value, '__module__', '') or ''}.{name}"
