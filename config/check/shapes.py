"""What an annotation says about lists and mappings: the types of their items, keys and fields."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, is_typeddict

from config.check.generics import get_types, substitute_all
from config.check.plain_types import LEAF_TYPES, is_path_type, takes_text, unwrap
from config.check.signature import Signature, get_typed_dict_parameters, is_named_tuple
from utils.errors import is_typo_of

UNKNOWN = (inspect.Parameter.empty, Any, object)
NONE = (None, type(None))


class Member(NamedTuple):
    """One item of a list, value of a mapping, or field of a dataclass.

    Attributes:
        key: the index, the key or the name of the field.
        annotation: what the item must be.
        value: the item.
        is_field: whether ``key`` is the name of a field.
    """

    key: Any
    annotation: Any
    value: Any
    is_field: bool = False


def is_component(value: Any) -> bool:
    """Whether ``value`` is a ``{"type": NAME}``, with or without ``args``."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    return {key for key in value if not is_comment(key)} <= {"type", "args"}


def means_component(value: Any, slot_is_component: bool = False) -> bool:
    """Whether a value is a component, perhaps with a mistake in its keys.

    Args:
        value: from the config.
        slot_is_component: whether a mapping is never a plain value at its position.
    """
    if not isinstance(value, dict) or slot_is_component:
        return isinstance(value, dict)
    keys = [str(key) for key in value]
    has_type = any(is_typo_of(key, "type") for key in keys)
    args = [value[key] for key in value if is_typo_of(str(key), "args")]
    return is_component(value) or (has_type and any(isinstance(item, dict) for item in args))


Phase = Literal["train", "valid"]  # of a metric: `valid` is validation and test
PHASES: tuple[str, ...] = get_args(Phase)


def get_phase(node: Any) -> str:
    """Returns the phase that a metric is limited to; empty for both."""
    phase = node.get("on") if isinstance(node, dict) else None
    return phase if phase in PHASES else ""


def is_comment(key: str) -> bool:
    """Whether a key is a comment, ``"__comment…"``: JSON has no other way to write one."""
    return key.startswith("__comment")


def is_mapping_of_sets(value: Any) -> bool:
    """Whether a section holds a component for each of several data sets, by name."""
    is_single = not isinstance(value, dict) or "type" in value or "args" in value
    sets = [] if is_single else [value[name] for name in list_set_names(value)]
    has_component = any(isinstance(node, dict) and "type" in node for node in sets)
    return has_component or (bool(sets) and all(isinstance(node, dict) for node in sets))


def list_set_names(section: dict[str, Any]) -> list[str]:
    """Lists the names of the data sets in a section."""
    return [key for key in section if not is_comment(str(key))]


def get_choices(annotation: Any) -> list[Any]:
    """Returns the alternatives of a union, or the annotation itself, without wrappers."""
    annotation = unwrap(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return [
            choice for alternative in get_args(annotation) for choice in get_choices(alternative)
        ]
    return [annotation]


def is_unknown(choice: Any) -> bool:
    """Whether an annotation says nothing, or cannot be resolved."""
    return isinstance(choice, str) or any(choice is other for other in UNKNOWN)


def get_class(choice: Any) -> Any:
    """Returns the class of an annotation: ``list`` of ``list[int]``; None if it names none."""
    kind = get_origin(choice) if get_origin(choice) is not None else choice
    return kind if inspect.isclass(kind) and kind not in UNKNOWN else None


def get_fields(choice: Any) -> dict[str, inspect.Parameter] | None:
    """Returns the fields of a dataclass, NamedTuple, TypedDict or attrs class; else None."""
    kind = get_class(choice)
    if kind is None:
        return None
    if is_typeddict(kind):
        return substitute_all(get_typed_dict_parameters(kind), get_types(choice))
    names = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
    if not is_named_tuple(kind) and not any(hasattr(kind, name) for name in names):
        return None
    return substitute_all(Signature.from_callable(kind).parameters, get_types(choice))


def get_members(choice: Any, value: Any) -> list[Member] | None:
    """Returns the members of a list or mapping with their annotations.

    None if ``choice``, a type without alternatives, wants no such value.
    """
    kind, items = get_class(choice), get_args(choice)
    if isinstance(value, dict):
        fields = get_fields(choice)
        if fields is not None:
            known = {name: parameter.annotation for name, parameter in fields.items()}
            return [
                Member(key, known.get(key, Any), item, is_field=True)
                for key, item in value.items()
                if not is_comment(str(key))
            ]
        if kind is None or not issubclass(kind, Mapping):
            return None
        item_kind = items[1] if len(items) > 1 else Any
        return [Member(key, item_kind, item) for key, item in value.items()]
    if not isinstance(value, list) or not wants_list(choice):
        return None
    kinds = _get_item_types(choice, len(value))
    kinds += [Any] * (len(value) - len(kinds))
    return [Member(index, kinds[index], item) for index, item in enumerate(value)]


def _get_item_types(choice: Any, n_items: int) -> list[Any]:
    items, fields = get_args(choice), get_fields(choice)
    if fields is not None:
        return [parameter.annotation for parameter in fields.values()]
    if is_fixed_tuple(choice):
        return list(items)
    return [items[0] if items else Any] * n_items


def is_fixed_tuple(choice: Any) -> bool:
    """Whether an annotation is like ``tuple[int, str]``, with one type for each item."""
    return get_origin(choice) is tuple and Ellipsis not in get_args(choice)


def has_right_length(choice: Any, value: list[Any]) -> bool:
    """Whether a list has as many items as a tuple or NamedTuple wants."""
    fields = get_fields(choice)
    if fields is not None and wants_list(choice):
        needed = [item for item in fields.values() if item.default is item.empty]
        return len(needed) <= len(value) <= len(fields)
    return not is_fixed_tuple(choice) or len(get_args(choice)) == len(value)


def get_key_type(choice: Any) -> Any:
    """Returns the annotation of the keys of a mapping."""
    items = get_args(choice)
    return items[0] if items and not get_fields(choice) else Any


def wants_list(choice: Any) -> bool:
    """Whether a list may stand for the container that an annotation wants."""
    kind = get_class(choice)
    if kind is None or issubclass(kind, Mapping):
        return False
    is_deque = kind.__module__ == "collections" and issubclass(kind, Sequence)
    if is_deque or issubclass(kind, list | tuple | Set):
        return True
    try:
        return issubclass(list, kind)
    except TypeError:  # a Protocol that only a type checker compares
        return False


def wants_mapping(choice: Any) -> bool:
    """Whether an annotation wants a mapping that may have a key ``type``."""
    kind = get_class(choice)
    if kind is None:
        return False
    fields = get_fields(choice)
    has_type = fields is not None and (is_typeddict(kind) or "type" in fields)
    return has_type or issubclass(kind, Mapping)


def may_be_component(choice: Any) -> bool:
    """Whether a component can make the object that an annotation wants."""
    if is_unknown(choice):
        return True
    if get_origin(choice) is Literal or wants_mapping(choice) or wants_list(choice):
        return False
    kind = get_class(choice)
    return kind is None or kind not in LEAF_TYPES


def wants_component(annotation: Any) -> bool:
    """Whether only objects fit, or lists of them: then no mapping is a plain value."""
    choices = [choice for choice in get_choices(annotation) if choice not in NONE]
    return bool(choices) and all(map(_is_of_objects, choices))


def _is_of_objects(choice: Any) -> bool:
    kind = get_class(choice)
    if kind is None or get_fields(choice) is not None or wants_mapping(choice):
        return False
    if wants_list(choice):
        items = [item for item in get_args(choice) if item is not Ellipsis]
        return bool(items) and all(map(wants_component, items))
    return may_be_component(choice) and not takes_text(kind)


def is_wanted_component(annotation: Any, value: Any) -> bool:
    """Whether a value is a component where the annotation wants no plain mapping."""
    return is_component(value) and not takes_mapping(annotation)


def takes_mapping(annotation: Any) -> bool:
    """Whether a ``{"type": NAME}`` is a plain mapping here, and not a component."""
    choices = [choice for choice in get_choices(annotation) if choice not in NONE]
    return any(map(wants_mapping, choices)) and not any(map(may_be_component, choices))


def takes_list(annotation: Any) -> bool:
    """Whether a list of anything fits an annotation, or nothing is known."""
    return any(is_unknown(choice) or wants_list(choice) for choice in get_choices(annotation))


def takes_words(annotation: Any) -> bool:
    """Whether certain texts fit an annotation."""
    return any(get_origin(choice) is Literal for choice in get_choices(annotation))


def is_path(annotation: Any) -> bool:
    """Whether a path fits an annotation."""
    return any(is_path_type(get_class(choice)) for choice in get_choices(annotation))
