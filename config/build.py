"""From ``{"type": NAME, "args": {…}}`` to an object: check it against its signature, then make it."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from utils.download import downloading
from utils.errors import UserError, nearest, one_line

from .slots import ROOT, USERS, Signature, Slot, inner_slot, resolve
from .source import ConfigError, Finding, Keys, Tree


def is_node(value: Any) -> bool:
    """Whether ``value`` is a ``{type, args}`` (both, or the type alone)."""
    return isinstance(value, dict) and isinstance(value.get("type"), str) and set(value) <= {"type", "args"}


def is_comment(key: str) -> bool:
    """Whether a key is a remark, as JSON has no other: ``"__comment"``."""
    return key.startswith("__comment")


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
        if kind is tuple and items == list(choices) and items and len(items) != len(value):
            return False
        fits = issubclass(list, kind) or kind in (tuple, set, frozenset) or kind.__module__ not in _PLAIN
        return fits and (len(items) != 1 or all(accepts(items[0], item) for item in value))
    if isinstance(value, dict):
        return issubclass(dict, kind) or kind.__module__ not in _PLAIN
    if isinstance(value, bool | str):
        return kind is type(value)
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


_LISTS = (list, tuple, set, frozenset, Sequence)
_PLAIN = ("builtins", "collections.abc", "typing")


def _named(kind: type, text: str) -> Any:
    """The object of type ``kind`` that a config can only name: an enum's member, a path, a ``torch.dtype``."""
    if issubclass(kind, enum.Enum):
        return kind.__members__.get(text) or next((member for member in kind if member.value == text), None)
    if issubclass(kind, os.PathLike):
        return Path(text)
    if (kind.__module__, kind.__name__) == ("torch", "dtype"):
        found = getattr(importlib.import_module("torch"), text.removeprefix("torch."), None)
        return found if isinstance(found, kind) else None
    return None


def convert(annotation: Any, value: Any) -> Any:
    """``value``, or what it names where ``annotation`` wants an enum, a path or a dtype."""
    if isinstance(value, list):
        choices = [choice for choice in (annotation, *get_args(annotation)) if get_origin(choice) in _LISTS]
        kinds: Any = get_args(choices[0]) if choices else ()
        by_place = bool(choices) and get_origin(choices[0]) is tuple and len(kinds) == len(value)
        kinds = kinds if by_place else kinds[:1] * len(value)
        return [convert(kind, item) for kind, item in zip(kinds, value, strict=True)] if kinds else value
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


class Checker:
    """Compares parts of a config with the signatures of what they name, and collects what does not fit.

    On the way a value from the command line whose parameter wants text gets its text back (``name=007``).
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.findings: list[Finding] = []

    def fail(self, keys: Keys, message: str) -> None:
        self.findings.append(Finding(self.tree.mark(keys), keys, message))

    def node(self, node: Any, slot: Slot, keys: Keys) -> None:
        """Checks ``{type, args}``; in a callback slot a name alone stands for it."""
        if isinstance(node, str) and slot.callback:
            node = {"type": node}
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            self.fail(keys, 'must be {"type": NAME, "args": {…}}' + (" or a name" if slot.callback else ""))
            return
        known = ("type", "args", "name") if keys[0] == "metrics" else ("type", "args")
        for key in [key for key in node if key not in known and not is_comment(key)]:
            self.fail((*keys, key), f"unknown key{nearest(key, ('type', 'args'))}; a part has 'type' and 'args'")
        try:
            found = resolve(node["type"], slot)
        except UserError as error:
            self.fail((*keys, "type"), str(error))
            return
        args = node.get("args")
        if args is not None and not isinstance(args, dict):
            self.fail((*keys, "args"), f"must be a mapping of argument names to values, not {args!r}")
            return
        given = 0 if slot.callback and inspect.isclass(found) else len(slot.given)
        signature = Signature.of(found, given)
        self.args(signature, args or {}, (*keys, "args"), node["type"], slot)

    def args(self, signature: Signature, args: dict[str, Any], keys: Keys, owner: str, slot: Slot) -> None:
        """Checks keyword arguments: unknown, missing, of the wrong type; nested parts at any depth."""
        parameters = signature.parameters
        for key, value in args.items():
            where = (*keys, key)
            if key in parameters:
                if value is None and parameters[key].default is None:
                    continue  # `x: int = None`, as many write it
                self.value(parameters[key].annotation, value, where, slot, args)
            elif not signature.open_ended and not is_comment(key):
                self.fail(where, f"{owner} takes no '{key}'{nearest(key, parameters)}")
            else:
                self.inner(value, where, inner_slot(key, slot))
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in (*args, *slot.given, *slot.beside):
                self.fail(keys[:-1] if not args else keys, f"{owner} needs '{name}'")

    def value(self, annotation: Any, value: Any, keys: Keys, slot: Slot, holder: dict[str, Any]) -> None:
        name = str(keys[-1])
        inner = inner_slot(name, slot)
        if isinstance(value, str) and inner.callback:
            self.node(value, inner, keys)
            return
        items = value if isinstance(value, list) else [value]
        if annotation is not dict and any(is_node(item) for item in items):
            self.inner(value, keys, inner)
            return
        if not accepts(annotation, value):
            raw = self.tree.raw.get(keys)
            text = raw if raw is None or "${" not in raw else str(value)
            if text is not None and value is not None and accepts(annotation, text):
                holder[name] = text
                return
            self.fail(keys, f"wants {readable(annotation)}, not {value!r}")

    def inner(self, value: Any, keys: Keys, slot: Slot) -> None:
        if is_node(value):
            self.node(value, slot, keys)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.inner(item, (*keys, index), slot)


def build(tree: Tree, node: Any, slot: Slot, keys: Keys, /, *args: Any, dataset: Any = None, **kwargs: Any) -> Any:
    """Makes what ``node`` describes; parts inside its ``args`` first.

    Args:
        args, kwargs: what the program gives; the config may not give the same again.
        dataset: what stands beside this part, for a sampler that wants it.

    Raises:
        ConfigError: the name or the arguments do not fit, with the key path.
    """
    node = {"type": node} if isinstance(node, str) else node
    try:
        found = resolve(node["type"], slot)
    except UserError as error:
        raise tree.error((*keys, "type"), str(error)) from None
    own = {key: value for key, value in (node.get("args") or {}).items() if not is_comment(key)}
    annotations = Signature.of(found).parameters
    own |= {key: dataset for key in slot.beside if key in annotations and key not in own and dataset is not None}
    for key in sorted(own, key=lambda key: key != "dataset"):  # the dataset first: samplers want it
        value, annotation = own[key], annotations[key].annotation if key in annotations else Any
        if annotation is not dict:
            beside = own.get("dataset", dataset)
            value = _build_inner(tree, value, inner_slot(key, slot), (*keys, "args", key), beside)
        own[key] = convert(annotation, value)
    twice = sorted(set(own) & set(kwargs))
    if twice:
        raise tree.error((*keys, "args", twice[0]), f"'{twice[0]}' is given by the program; take it out of the config")
    if slot.callback and not inspect.isclass(found):
        return with_args(found, own)
    return call(tree, found, keys, *args, **kwargs, **own)


def with_args(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """``function`` with ``args`` fixed, under its own name."""
    if not args:
        return function
    fixed = partial(function, **args)
    fixed.__name__ = function.__name__  # type: ignore[attr-defined]
    return fixed


def _build_inner(tree: Tree, value: Any, slot: Slot, keys: Keys, dataset: Any) -> Any:
    if is_node(value) or (isinstance(value, str) and slot.callback):
        return build(tree, value, slot, keys, dataset=dataset)
    if isinstance(value, list):
        return [_build_inner(tree, item, slot, (*keys, index), dataset) for index, item in enumerate(value)]
    return value


def call(tree: Tree, found: Callable[..., Any], keys: Keys, /, *args: Any, **kwargs: Any) -> Any:
    """``found(*args, **kwargs)``; arguments that it refuses are an error of the config, with its key path."""
    try:
        with downloading(found, kwargs["root"]) if kwargs.get("download") and "root" in kwargs else nullcontext():
            return found(*args, **kwargs)
    except ConfigError:
        raise
    except UserError as error:
        raise tree.error(keys, str(error)) from None
    except (TypeError, ValueError, RuntimeError, OSError, LookupError, AttributeError) as error:
        if _own_place(error) and not isinstance(error, TypeError | ValueError | RuntimeError | OSError):
            raise  # a fault in the project's code: its traceback helps
        raise tree.error(keys, f"{getattr(found, '__name__', found)}: {one_line(error)}{_own_place(error)}") from error


def _own_place(error: BaseException) -> str:
    """Where in the project's own folders ``error`` came up, as `` (model/model.py:12)``; empty if in none of them."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{path.relative_to(ROOT)}:{line}" for path, line in frames if path.parent in map(ROOT.joinpath, USERS)]
    return f" ({own[-1]})" if own else ""
