"""The space of a search: for each dotted key, the values that it may take."""

from __future__ import annotations

from typing import Any, NamedTuple

from config.read.text import to_cell


class Choices(NamedTuple):
    """A list of values of any JSON type, among them parts such as ``{type: …, args: …}``."""

    values: list[Any]


class Range(NamedTuple):
    """All numbers from ``low`` to ``high``; with ``step``, those at this distance."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    is_integer: bool = False


def label(value: Any) -> str | int | float | bool | None:
    """Returns a plain value as it is, and any other value as a short text."""
    if isinstance(value, dict) and value.keys() <= {"type", "args"} and "type" in value:
        args = value.get("args") or {}
        pairs = ", ".join(f"{key}={to_cell(item)}" for key, item in args.items())
        return f"{value['type']}({pairs})" if pairs else str(value["type"])
    return to_cell(value) if isinstance(value, dict | list) else value
