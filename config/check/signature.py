"""Reads the signature of a class or function, which is the schema of its ``args``."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, get_type_hints

from config.check.project import FRAMEWORK


class Signature(NamedTuple):
    """The parameters of a class or function, with resolved annotations.

    Attributes:
        parameters: by name, without ``*args`` and ``**kwargs``.
        is_open: whether other keyword arguments are accepted too.
        owner: the dotted name of the class or function.
    """

    parameters: dict[str, inspect.Parameter]
    is_open: bool
    owner: str = ""

    @classmethod
    def from_callable(cls, found: Any, n_given: int = 0) -> Signature:
        """Reads the signature of a class or function, without its first ``n_given`` parameters.

        A class usually passes its ``**kwargs`` on to its parent, so the parent's parameters belong
        to the signature. Classes of the framework always do so. Any other class stays open.
        """
        module = getattr(found, "__module__", None) or "torch"  # torch's C functions name none
        owner = f"{module}.{getattr(found, '__qualname__', found)}"
        try:
            parameters = list(inspect.signature(found).parameters.values())
        except (TypeError, ValueError):  # written in C
            return cls({}, True, owner)
        hints = get_annotations(found)
        named = {
            parameter.name: parameter.replace(
                annotation=hints.get(parameter.name, parameter.annotation)
            )
            for parameter in parameters[n_given:]
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not is_open or not inspect.isclass(found) or found.__mro__[1] is object:
            return cls(named, is_open, owner)
        parent = cls.from_callable(found.__mro__[1])
        # No inherited parameter is required, because the class may pass it itself.
        inherited = {
            name: parameter.replace(default=None) for name, parameter in parent.parameters.items()
        }
        is_open = parent.is_open or not found.__module__.startswith(f"{FRAMEWORK}.")
        return cls(inherited | named, is_open, owner)


def get_annotations(found: Any) -> dict[str, Any]:
    """Returns the resolved annotations of a class's constructor or of a function."""
    try:
        return get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except Exception:  # an annotation may name something that only a type checker imports
        return {}
