"""Compares the values of a config with the annotations of parameters, and converts them."""

from __future__ import annotations

import enum
import inspect
from collections import defaultdict
from collections.abc import Callable, Set
from typing import Any, Literal, get_args, get_origin, is_typeddict

from config.check.plain_types import find_named, leaf_accepts, unwrap
from config.check.shapes import (
    NONE,
    Member,
    get_choices,
    get_class,
    get_fields,
    get_key_type,
    get_members,
    has_right_length,
    is_unknown,
    may_be_component,
    wants_list,
)
from config.read.source import parse_value

_DEFAULT_FACTORIES = (bool, int, float, str, list, tuple, set, dict)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a JSON-like ``value`` fits ``annotation``. True where that cannot be decided."""
    return any(_choice_accepts(choice, value) for choice in get_choices(annotation))


def _choice_accepts(choice: Any, value: Any) -> bool:
    if is_unknown(choice):
        return True
    if choice in NONE:
        return value is None
    if get_origin(choice) is Literal:
        return bool(_find_literals(choice, value))
    kind = get_class(choice)
    if kind is None:
        return True
    if not isinstance(value, dict | list):
        return leaf_accepts(kind, value)
    members = get_members(choice, value)
    if members is None:
        is_component = isinstance(value, dict) and isinstance(value.get("type"), str)
        return issubclass(type(value), kind) or (is_component and may_be_component(choice))
    is_complete = has_right_length(choice, value) if isinstance(value, list) else True
    fits = is_complete and all(accepts(member.annotation, member.value) for member in members)
    return fits and not (isinstance(value, dict) and find_wrong_keys(choice, value))


def find_wrong_keys(choice: Any, value: dict[Any, Any]) -> dict[Any, str]:
    """Returns, by key, what is wrong with the keys of a mapping."""
    fields = get_fields(choice)
    if fields is not None:
        known = {member.key for member in get_members(choice, value) or ()}
        needed = [name for name, item in fields.items() if item.default is item.empty]
        wrong = dict.fromkeys(known - fields.keys(), "unknown")
        return wrong | {name: "missing" for name in needed if name not in value}
    key_type = get_key_type(choice)
    problems: dict[Any, str] = {}
    made: list[Any] = []
    for key in value:
        new = _convert_key(key_type, key)
        if not accepts(key_type, new):
            problems[key] = f"the key must be {describe_annotation(key_type)}, not {key!r}"
        elif new in made:
            problems[key] = f"the key {new!r} is given twice"
        made.append(new)
    return problems


def choose(annotation: Any, value: Any) -> Any:
    """Returns the type in a union that ``value`` means; the union if several may be meant.

    An enum whose member is named comes first, then a type that takes the value as it is.
    """
    choices = get_choices(annotation)
    if len(choices) == 1:
        return choices[0]
    fitting = [choice for choice in choices if _choice_accepts(choice, value)]
    enums = [
        choice for choice in fitting if inspect.isclass(choice) and issubclass(choice, enum.Enum)
    ]
    unchanged = [choice for choice in fitting if _keeps(choice, value)]
    for found in (enums, unchanged, fitting):
        if found:
            return found[0]
    alike = [choice for choice in choices if get_members(choice, value) is not None]
    return alike[0] if len(alike) == 1 else annotation


def _keeps(choice: Any, value: Any) -> bool:
    if get_fields(choice) is not None and not is_typeddict(choice):
        return False  # found without making an object
    made = convert(choice, value)
    return made is value or (type(made) is type(value) and bool(made == value))


def convert(
    annotation: Any, value: Any, convert_member: Callable[[Member], Any] | None = None
) -> Any:
    """Returns what ``annotation`` wants, made of a JSON-like ``value`` that it accepts.

    A text becomes an enum member, a path or a dtype, a list a tuple or a set, a key a number, and
    a mapping a dataclass. Anything else stays: an int is a float too, as type checkers see it.

    Args:
        annotation: of the parameter.
        value: from the config.
        convert_member: converts the members; by default this function.
    """
    choice = choose(annotation, value)
    if not isinstance(value, dict | list):
        return _convert_single(choice, value)
    members = get_members(choice, value)
    if members is None and isinstance(value, dict):
        return value
    if members is None:
        members = [Member(index, Any, item) for index, item in enumerate(value)]
    made = {
        member.key: convert(member.annotation, member.value)
        if convert_member is None
        else convert_member(member)
        for member in members
    }
    if isinstance(value, list):
        return _assemble_list(choice, list(made.values()))
    return _assemble_mapping(choice, made)


def _assemble_list(choice: Any, items: list[Any]) -> Any:
    kind = get_class(choice)
    if kind is None or kind is list or not wants_list(choice):
        return items
    if get_fields(choice) is not None:
        return kind(*items)
    if inspect.isabstract(kind):
        return set(items) if issubclass(kind, Set) else items
    return kind(items)


def _assemble_mapping(choice: Any, members: dict[Any, Any]) -> Any:
    kind = get_class(choice)
    if get_fields(choice) is not None:
        return kind(**members)
    key_type = get_key_type(choice)
    members = {_convert_key(key_type, key): item for key, item in members.items()}
    if issubclass(dict, kind):
        return members
    if not issubclass(kind, defaultdict):
        return kind(members)
    new = get_class(get_args(choice)[1]) if get_args(choice) else None
    return kind(new if new in _DEFAULT_FACTORIES else None, members)


def _convert_single(choice: Any, value: Any) -> Any:
    if get_origin(choice) is Literal:
        return next(iter(_find_literals(choice, value)), value)
    kind = get_class(choice)
    found = find_named(kind, value) if kind is not None else None
    return value if found is None else found


def _convert_key(key_type: Any, key: Any) -> Any:
    """Returns the key that an annotation wants. JSON has no other keys than text."""
    if not isinstance(key, str) or any(map(is_unknown, get_choices(key_type))):
        return key
    value = parse_value(key)
    is_number = isinstance(value, bool | int | float)
    return convert(key_type, value if is_number and accepts(key_type, value) else key)


def _find_literals(choice: Any, value: Any) -> list[Any]:
    """Returns the members of a Literal that a value names."""
    members = get_args(choice)
    same = [item for item in members if item == value and type(item) is type(value)]
    kinds = {type(item) for item in members if isinstance(item, enum.Enum)}
    return same + [item for item in members if item in [find_named(k, value) for k in kinds]]


def describe_annotation(annotation: Any) -> str:
    """Formats an annotation as a person writes it: ``int | None``, ``'min' | 'max'``."""
    annotation = unwrap(annotation)
    if get_origin(annotation) is Literal:
        members = get_args(annotation)
        return " | ".join(m.name if isinstance(m, enum.Enum) else repr(m) for m in members)
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return " | ".join(annotation.__members__)
    if inspect.isclass(annotation) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")
