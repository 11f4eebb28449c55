"""The types that stand for the type parameters of generic classes: ``int`` in ``Box[int]``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin

Types = dict[Any, Any]  # the type of each type parameter


def substitute(annotation: Any, types: Mapping[Any, Any]) -> Any:
    """Returns an annotation with ``types`` in place of its type parameters."""
    if isinstance(annotation, TypeVar):
        return types.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if get_origin(annotation) is None or not any(item in types for item in parameters):
        return annotation
    return annotation[tuple(types.get(item, item) for item in parameters)]


def substitute_all(
    parameters: Mapping[str, inspect.Parameter], types: Mapping[Any, Any]
) -> dict[str, inspect.Parameter]:
    """Substitutes the type parameters in the annotations of parameters."""
    return {
        name: parameter.replace(annotation=substitute(parameter.annotation, types))
        for name, parameter in parameters.items()
    }


def get_types(annotation: Any) -> Types:
    """Returns the types in an annotation's brackets, by the type parameters of its class."""
    parameters = getattr(get_origin(annotation), "__parameters__", ())
    return dict(zip(parameters, get_args(annotation), strict=False))


def get_inherited_types(kind: Any) -> dict[Any, Types]:
    """Returns, for each parent of a class, its type parameters as the class has set them."""
    found: dict[Any, Types] = {}
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        parent = base if get_origin(base) is None else get_origin(base)
        if not inspect.isclass(parent) or parent in (object, Generic, Protocol):
            continue
        types = get_types(base)
        found.setdefault(parent, types)
        for other, inherited in get_inherited_types(parent).items():
            known = {item: substitute(value, types) for item, value in inherited.items()}
            found.setdefault(other, known)
    return found


def resolve_inherited(
    parameters: Mapping[str, inspect.Parameter], kind: Any
) -> dict[str, inspect.Parameter]:
    """Substitutes the type parameters of a class's parents in the parameters of its constructor.

    A field of a dataclass belongs to the parent that annotates it; any other parameter to the class
    with the constructor.
    """
    types = get_inherited_types(kind)
    if not any(types.values()):
        return dict(parameters)
    owner = next((item for item in kind.__mro__ if "__init__" in vars(item)), kind)
    resolved = {}
    for name, parameter in parameters.items():
        has_fields = hasattr(owner, "__dataclass_fields__")
        owners = [item for item in kind.__mro__ if name in vars(item).get("__annotations__", {})]
        parent = owners[0] if has_fields and owners else owner
        annotation = substitute(parameter.annotation, types.get(parent, {}))
        resolved[name] = parameter.replace(annotation=annotation)
    return resolved
