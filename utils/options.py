"""Options: frozen dataclasses whose fields are the schema of a flat section of a config."""

from __future__ import annotations

import inspect
import keyword
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from utils.errors import Problem, UserError

T = TypeVar("T")


class SectionOptions:
    """The parent of the dataclasses that describe a flat section. Its methods do nothing."""

    def check_epochs(self, epochs: int) -> None:
        """Checks these options against the length of the run.

        Args:
            epochs: the number of epochs that the run trains.

        Raises:
            UserError: an option does not fit; its key is relative to the section.
        """

    @classmethod
    def check_config(cls, section: Mapping[str, Any], checker: Any) -> None:
        """Checks the section against the rest of the config, also if some of its values are wrong.

        Args:
            section: the values, as the config has them.
            checker: the Checker, which has the config and takes the findings.
        """

    def explain(self, config: Any) -> list[str]:
        """Returns the lines that ``python -m config explain SECTION`` prints below its table.

        Args:
            config: the ConfigParser that these options come from.

        Raises:
            UserError: the options do not fit the rest of the config.
        """
        return []


class SectionFeature:
    """The parent of features that a section of the config selects.

    Attributes:
        section: the top-level key of the config.
        options_type: the schema of that section.
        slots: for each option that takes a component, its Slot.
    """

    section: ClassVar[str] = ""
    options_type: ClassVar[type[SectionOptions]] = SectionOptions
    slots: ClassVar[Mapping[str, Any]] = {}


def make_options(kind: type[T], section: Mapping[str, Any]) -> T:
    """Makes a dataclass from a flat section, with the dataclasses inside it, alone or in lists.

    Keys that are not fields of ``kind`` are ignored. ``get_key`` gives the key of a field.

    Raises:
        UserError: a value is missing, or a dataclass refuses its values. The keys are relative to
            the section, such as ``thaw.0.epoch``.
    """
    annotations = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        key = get_key(field.name)
        if key not in section:
            if field.default is MISSING and field.default_factory is MISSING:
                raise UserError(f"needs '{key}'")
            continue
        value = section[key]
        nested, is_list = find_dataclass(annotations[field.name])
        if nested is None or value is None:
            values[field.name] = value
        elif is_list:
            values[field.name] = [
                _make_nested(nested, item, f"{key}.{index}") for index, item in enumerate(value)
            ]
        else:
            values[field.name] = _make_nested(nested, value, key)
    return kind(**values)


def _make_nested(kind: type[T], section: Mapping[str, Any], key: str) -> T:
    try:
        return make_options(kind, section)
    except UserError as error:
        raise error.under(key) from None


def get_key(field: str) -> str:
    """Returns the key of a field: ``from`` for ``from_``, because Python reserves the word."""
    word = field.removesuffix("_")
    return word if keyword.iskeyword(word) else field


def find_dataclass(annotation: Any) -> tuple[Any, bool]:
    """Returns the dataclass in an annotation, if any, and whether the annotation wants a list.

    ``Head | None`` gives ``(Head, False)``, ``list[Thaw] | None`` gives ``(Thaw, True)`` and
    ``int`` gives ``(None, False)``.
    """
    is_union = get_origin(annotation) in (Union, types.UnionType)
    for choice in get_args(annotation) if is_union else (annotation,):
        items = get_args(choice) if get_origin(choice) is list else ()
        kind = items[0] if items else choice
        if inspect.isclass(kind) and is_dataclass(kind):
            return kind, bool(items)
    return None, False


def find_too_small(options: Any, **minimums: int) -> list[Problem]:
    """Returns a problem for every option that is below its minimum. None is never too small."""
    problems = []
    for name, minimum in minimums.items():
        value = getattr(options, name)
        if value is not None and not value >= minimum:  # a NaN is too small as well
            problems.append(Problem(name, f"{value!r} must be at least {minimum}"))
    return problems


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raises one UserError for all ``problems``, if there are any."""
    problems = list(problems)
    if problems:
        raise UserError(problems)
