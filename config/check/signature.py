"""Reads the signature of a class or function, which is the schema of its ``args``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import (
    Any,
    NamedTuple,
    NotRequired,
    Required,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from config.check.forwarding import find_forwarding
from config.check.generics import Types, get_inherited_types, resolve_inherited, substitute_all
from config.check.project import FRAMEWORK
from utils.options import SectionOptions, get_key


class Signature(NamedTuple):
    """The parameters of a class or function, with resolved annotations.

    Attributes:
        parameters: by name, without ``*args`` and ``**kwargs``.
        is_open: whether other keyword arguments are accepted too.
        owner: the dotted name of the class or function.
        others: the annotation of each other keyword argument.
    """

    parameters: dict[str, inspect.Parameter]
    is_open: bool
    owner: str = ""
    others: Any = Any

    def get_annotation(self, name: str) -> Any:
        """Returns the annotation of the keyword argument ``name``."""
        known = self.parameters.get(name)
        return self.others if known is None else known.annotation

    @classmethod
    def from_callable(
        cls, found: Any, n_skipped: int = 0, callers: tuple[Any, ...] = ()
    ) -> Signature:
        """Reads the signature of a class or function, without its first ``n_skipped`` parameters.

        A class usually passes its ``**kwargs`` on to its parent, so the parent's parameters belong
        to the signature. Classes of the framework always do so. Any other class or function stays
        open, unless its code shows that it passes them to one class or function and nowhere else.

        Args:
            found: a class or function.
            n_skipped: for example 1 for ``self``.
            callers: the classes and functions that have forwarded their ``**kwargs`` to it.
        """
        owner = f"{get_module_name(found)}.{getattr(found, '__qualname__', found)}"
        try:
            parameters = _list_parameters(found)
        except (TypeError, ValueError):  # written in C
            return cls({}, True, owner)
        hints = get_annotations(found)
        named = {
            parameter.name: parameter.replace(
                annotation=hints.get(parameter.name, parameter.annotation)
            )
            for parameter in parameters[n_skipped:]
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        if inspect.isclass(found):
            named = resolve_inherited(named, found)
            if issubclass(found, SectionOptions):
                named = {get_key(name): parameter for name, parameter in named.items()}
        rest = [item for item in parameters if item.kind is item.VAR_KEYWORD]
        is_open = bool(rest)
        others = hints.get(rest[0].name, Any) if rest else Any
        if get_origin(others) is Unpack:  # `**kwargs: Unpack[Options]`, a TypedDict
            named |= get_typed_dict_parameters(get_args(others)[0])
            is_open, others = False, Any
        elif inspect.isclass(kind := get_origin(others) or others) and issubclass(kind, Mapping):
            others = Any  # a common slip: the annotation of all, and not of each
        signature = cls(named, is_open, owner, others)
        return signature.add_forwarded(found, callers) if is_open else signature

    def add_forwarded(self, found: Any, callers: tuple[Any, ...]) -> Signature:
        """Adds the parameters of the class or function to which ``found`` forwards ``**kwargs``.

        Args:
            found: a class or function.
            callers: those that have forwarded theirs to it.
        """
        is_class = inspect.isclass(found)
        function = found.__init__ if is_class else found
        forwarding = find_forwarding(function) if inspect.isroutine(function) else None
        parents = found.__mro__[1:-1] if is_class else ()
        types: Types = {}
        if forwarding is not None and forwarding.target not in (None, found, *callers):
            target, is_closed = forwarding.target, True
        elif parents:  # a class usually passes them on to its parent
            target, types = parents[0], get_inherited_types(found).get(parents[0], {})
            is_single = found.__mro__[1:] == parents[0].__mro__  # else `super` may be another class
            is_passed = forwarding is not None and forwarding.target is None and is_single
            is_closed = is_passed or found.__module__.startswith(f"{FRAMEWORK}.")
        else:
            return self
        inner = Signature.from_callable(target, callers=(*callers, found))
        # None of them is required, because the class or function may pass it itself.
        forwarded = {
            name: parameter.replace(default=None)
            for name, parameter in substitute_all(inner.parameters, types).items()
            if forwarding is None or name not in forwarding.given
        }
        for name in () if forwarding is None else forwarding.names:
            unknown = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
            forwarded.setdefault(name, unknown)
        parameters = forwarded | self.parameters
        return self._replace(parameters=parameters, is_open=inner.is_open or not is_closed)


def _list_parameters(found: Any) -> list[inspect.Parameter]:
    """Lists the parameters of a class or function.

    A ``__new__`` or a metaclass that takes anything, as in a singleton, passes it to ``__init__``.
    """
    parameters = list(inspect.signature(found).parameters.values())
    takes_anything = all(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
    if inspect.isclass(found) and takes_anything and found.__init__ is not object.__init__:
        return list(inspect.signature(found.__init__).parameters.values())[1:]
    return parameters


def list_parameter_names(found: Any) -> list[str]:
    """Lists the names of the parameters of a class or function, without those of its parents."""
    try:
        return [parameter.name for parameter in _list_parameters(found)]
    except (TypeError, ValueError):  # written in C
        return []


def get_positional_only(found: Any) -> list[inspect.Parameter]:
    """Lists the parameters that are passed by position only."""
    try:
        parameters = _list_parameters(found)
    except (TypeError, ValueError):  # written in C
        return []
    return [item for item in parameters if item.kind is item.POSITIONAL_ONLY]


def get_module_name(found: Any) -> str:
    """Returns the name of the module that defines an object. torch's C functions name none."""
    return getattr(found, "__module__", None) or "torch"


def is_named_tuple(kind: type) -> bool:
    """Whether a class is a NamedTuple."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def get_typed_dict_parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """Returns the keys of a TypedDict. Those that may be missing have an ellipsis as default."""
    parameters = {}
    for name, hint in _resolve(kind, include_extras=True).items():
        is_required = name in kind.__required_keys__
        if get_origin(hint) in (Required, NotRequired):  # __required_keys__ ignores those in text
            is_required = get_origin(hint) is Required
            hint = get_args(hint)[0]
        default = inspect.Parameter.empty if is_required else ...
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters[name] = inspect.Parameter(name, keyword, default=default, annotation=hint)
    return parameters


def get_annotations(found: Any) -> dict[str, Any]:
    """Returns the resolved annotations of a class's constructor or of a function.

    An annotation that names something that only a type checker imports stays as it is.
    """
    if not inspect.isclass(found):
        return _resolve(found)
    if found.__init__ is not object.__init__:
        return _resolve(found.__init__)
    return _resolve(found if is_named_tuple(found) else found.__new__)


def _resolve(found: Any, include_extras: bool = False) -> dict[str, Any]:
    """Returns the annotations of an object. One that cannot be resolved does not hide others."""
    try:
        return get_type_hints(found, include_extras=include_extras)
    except Exception:  # an annotation may hold anything
        pass
    names = vars(sys.modules.get(found.__module__, SimpleNamespace()))
    names = getattr(inspect.unwrap(found), "__globals__", names)
    hints: dict[str, Any] = {}
    for owner in reversed(inspect.getmro(found)) if inspect.isclass(found) else (found,):
        for name, annotation in getattr(owner, "__annotations__", {}).items():
            # A class, because a function may have no ``Final`` and ``ClassVar`` in its text.
            single = type("Single", (), {"__annotations__": {name: annotation}})
            try:
                hints |= get_type_hints(single, names, include_extras=include_extras)
            except Exception:
                hints[name] = annotation
    return hints
