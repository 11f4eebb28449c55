"""Turns a state into tensors and plain values, which every ``torch.load`` reads, and back.

``torch.load(path, weights_only=True)`` accepts few types. ``codecs.py`` encodes some others. All
others are refused, because nobody could read the checkpoint.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from base.checkpoint.codecs import (
    CODE,
    CODECS,
    FUNCTIONS,
    OBJECT,
    PAIRS,
    SAVED_AS,
    VALUE,
    is_object,
    name_of_code,
    tag,
)
from base.checkpoint.nested import map_items
from base.checkpoint.views import copy_views
from utils.dtensor import is_dtensor
from utils.errors import UserError

# torch.load(weights_only=True) returns values of these types unchanged.
SCALARS = (bool, float, complex, str, bytes, bytearray, torch.Size, torch.dtype, torch.device)
HASHABLE = (type(None), bool, int, float, complex, str, bytes)
DICTS = (dict, OrderedDict, Counter)
MAX_INT_BITS = 2032  # torch reads integers of up to 255 bytes


class Encoder:
    """Encodes a state, so that it can be saved.

    Args:
        known: objects that are saved elsewhere. A state that holds one of them refers to the
            object of the running training.
        of_object: whether this is the state of an object that exists when it is restored. Only then
            may it hold functions and other objects.
    """

    def __init__(self, known: Iterable[Any] = (), of_object: bool = False) -> None:
        self._known = {id(item) for item in known}
        self._of_object = of_object
        self._open: set[int] = set()  # the containers around the present value, by address

    def encode(self, value: Any, name: str = "") -> Any:
        """Returns ``value``, or a copy with the values that can be saved.

        Args:
            value: nested dicts, lists, tuples, tensors, plain values.
            name: of the value, for the error.

        Raises:
            UserError: a value cannot be loaded back.
        """
        kind = type(value)
        if value is None or kind in SCALARS:
            return value
        if isinstance(value, torch.Tensor):
            return self._encode_tensor(value, name)
        if kind is int and value.bit_length() <= MAX_INT_BITS:
            return value
        if id(value) in self._open:
            raise refuse(name, value, "contains itself and")
        self._open.add(id(value))
        try:
            return self._encode_other(value, kind, name)
        finally:
            self._open.discard(id(value))

    def _encode_other(self, value: Any, kind: type, name: str) -> Any:
        if kind in DICTS and not all(map(is_plain_key, value)):
            pairs = [list(pair) for pair in value.items()]
            return tag(PAIRS, self.encode(pairs, name))
        if kind in (list, tuple, *DICTS):
            return map_items(value, lambda key, item: self.encode(item, join(name, key)))
        if kind is set and all(type(item) in HASHABLE for item in value):
            return value
        if isinstance(value, np.generic):  # a number, of one of many types
            kind = np.generic
        for key, codec in CODECS.items():
            if codec.kind is kind:
                encoded = codec.encode(value)
                if encoded is None:
                    raise refuse(name, value)
                return tag(key, self.encode(encoded, name))
        if not self._of_object:
            raise refuse(name, value)
        if isinstance(value, FUNCTIONS):
            return tag(CODE, name_of_code(value))
        if is_object(value):
            state = None if id(value) in self._known else value.state_dict()
            return tag(OBJECT, self.encode(state, name))
        raise refuse(name, value)

    def _encode_tensor(self, value: Any, name: str) -> Any:
        if is_lazy(value):
            message = "is a lazy tensor that no batch has given a shape yet"
            raise UserError(f"{name}: {message}; use it in forward, or remove it")
        if type(value) in (torch.Tensor, nn.Parameter):
            if value.is_nested:
                raise refuse(name, value, "that is nested")
            return value.detach() if vars(value) else value
        if is_dtensor(value):  # its shards are saved
            return value
        if not is_traceable_wrapper_subclass(value):
            return value.detach().as_subclass(torch.Tensor)
        if not can_load(value):
            raise refuse(name, value)
        return value


def join(name: str, key: Any) -> str:
    """The name of an item: ``update.ema``, or ``stages[0]`` for keys that are not text."""
    if not isinstance(key, str):
        return f"{name}[{key!r}]"
    return f"{name}.{key}" if name else key


def is_plain_key(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(is_plain_key, key))
    return type(key) in HASHABLE


def refuse(name: str, value: Any, reason: str = "") -> UserError:
    """Makes the error for a value that cannot be loaded back."""
    kind = type(value)
    article = "an" if kind.__name__[:1] in "AEIOUaeiou" else "a"
    if kind.__module__ != "builtins":
        where = f" ({kind.__module__}.{kind.__qualname__})"
    else:
        where = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
    text = " ".join(filter(None, (reason, "cannot be loaded back from a checkpoint")))
    advice = "keep numbers, text, lists, dicts or tensors there, or leave it out of state_dict()"
    return UserError(f"{name}: {article} {kind.__name__}{where} {text}; {advice}")


def can_load(value: Any) -> bool:
    """Tries in memory whether ``torch.load`` accepts a value."""
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except (pickle.PickleError, TypeError, AttributeError, RuntimeError):
        return False
    return True


def make_saveable(state: dict[str, Any], known: Iterable[Any] = ()) -> dict[str, Any]:
    """Returns ``state`` with values that every ``torch.load`` reads. Large tensors are not copied.

    Args:
        state: of a run. Its ``parts`` are the states of objects, by name.
        known: objects that have a state of their own in it.

    Raises:
        UserError: a value cannot be loaded back; the error has its name.
    """
    of_objects = Encoder(known, of_object=True)
    objects = {name: of_objects.encode(item, name) for name, item in state["parts"].items()}
    encoded = Encoder().encode({**state, "parts": objects})
    saveable: dict[str, Any] = copy_views(encoded)
    return saveable


# -- and back ------------------------------------------------------------------------------------

_MISSING = object()


def restore_types(value: Any) -> Any:
    """Rebuilds the values that ``make_saveable`` has encoded, except for objects and functions."""
    return _decode(value, _MISSING)


def restore_objects(value: Any, present: Any) -> Any:
    """Rebuilds all values. Objects inside the state are those of the running training.

    Args:
        value: the return value of ``restore_types``.
        present: the same state of the running training. The objects in it get their saved states.

    Raises:
        ValueError: ``present`` has another object, or none.
    """
    return _decode(value, present)


def _decode(value: Any, present: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {SAVED_AS, VALUE}:
        return _decode_tagged(value, present)
    if isinstance(value, dict) or type(value) in (list, tuple, deque):
        return map_items(value, lambda key, item: _decode(item, _get(present, key)))
    return value


def _get(present: Any, key: Any) -> Any:
    """The item of a container, or _MISSING."""
    try:
        return present[key] if isinstance(present, dict | list | tuple | deque) else _MISSING
    except (KeyError, IndexError):
        return _MISSING


def _decode_tagged(value: dict[str, Any], present: Any) -> Any:
    kind, content = value[SAVED_AS], _decode(value[VALUE], _MISSING)
    if kind in (OBJECT, CODE):
        if present is _MISSING:
            return tag(kind, content)
        return _find_present(kind, content, present)
    if kind == PAIRS:
        return dict(content)
    if kind not in CODECS:
        return value
    try:
        return CODECS[kind].decode(content)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"a {kind} cannot be made of {content!r:.40}") from error


def _find_present(kind: str, content: Any, present: Any) -> Any:
    if kind == CODE:
        if not isinstance(present, FUNCTIONS) or name_of_code(present) != content:
            raise ValueError(f"the function {content} is another one here")
        return present
    if not is_object(present):
        raise ValueError(f"an object with a state is a {type(present).__name__} here")
    if content is not None:
        present.load_state_dict(restore_objects(content, present.state_dict()))
    return present
