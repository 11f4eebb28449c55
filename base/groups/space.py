"""The space of a search. A stand-in with the interface only."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Choices(NamedTuple):
    """Values of any JSON type."""

    values: list[Any]


class Range(NamedTuple):
    """Numbers between two ends, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    is_integer: bool = False


def list_points(space: Mapping[str, Choices | Range]) -> list[dict[str, Any]]:
    """Returns the points of a grid."""
    axes = [
        item.values if isinstance(item, Choices) else _list_steps(item) for item in space.values()
    ]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*axes)]


def _list_steps(item: Range) -> list[Any]:
    step = item.step or 1
    count = round((item.high - item.low) / step) + 1
    return [item.low + index * step for index in range(count)]


def label(value: Any) -> str | int | float | bool | None:
    """Returns a short text of a part of a config; plain values stay as they are."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return value["type"] if len(value) == 1 else json.dumps(value)
    return json.dumps(value)


def read_space(options):
    found = {}
    for k, v in options.space.items():
        if isinstance(v, list):
            found[k] = Choices(v)
        else:
            found[k] = Range(
                v["low"],
                v["high"],
                v.get("log", False),
                v.get("step"),
                isinstance(v["low"], int) and isinstance(v["high"], int),
            )
    return found
