"""Rebuilds the values of a state that ``base/checkpoint/plain.py`` has encoded."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

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
)
from base.checkpoint.nested import map_items

_MISSING = object()


def restore_types(value: Any) -> Any:
    """Rebuilds the values for which the file suffices: all but objects and functions."""
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
    if isinstance(value, dict) or type(value) in (list, tuple):
        return map_items(value, lambda key, item: _decode(item, _get(present, key)))
    return value


def _get(present: Any, key: Any) -> Any:
    """The item of a container, or _MISSING."""
    try:
        return present[key] if isinstance(present, dict | list | tuple | deque) else _MISSING
    except (KeyError, IndexError):
        return _MISSING


def _decode_tagged(value: dict[str, Any], present: Any) -> Any:
    kind, content = value[SAVED_AS], value[VALUE]
    if kind in (OBJECT, CODE):
        return value if present is _MISSING else _find_present(kind, content, present)
    if kind == PAIRS:
        return {key: _decode(item, _get(present, key)) for key, item in _decode(content, _MISSING)}
    content = _decode(content, _list_items(present))
    if kind not in CODECS:
        return value
    try:
        return CODECS[kind].decode(content)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"a {kind} cannot be made of {content!r:.40}") from error


def _list_items(present: Any) -> Any:
    """The items of a container in the form in which its codec saves them."""
    if isinstance(present, deque):
        return [list(present)]
    return [_MISSING, dict(present)] if isinstance(present, defaultdict) else _MISSING


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
