"""The values of metrics as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils.errors import UserError
from utils.util import one_number

MAX_NUMBERS = 1000  # of one metric
MIN_FAMILY = 3  # numbers that share one chart


def split_numbers(name: str, value: Any, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the numbers in the value of a metric, by the names under which they are logged.

    Args:
        name: of the metric.
        value: a number; several in a vector: ``iou_0``, ``iou_1``; or a dict: ``box_small``. A dict
            may hold vectors.
        labels: names of classes. A vector with a number for each class has them in its names.

    Raises:
        UserError: the value is anything else.
    """
    number = one_number(value)
    if number is not None:
        return {name: number}
    if isinstance(value, Mapping) and 0 < len(value) <= MAX_NUMBERS:
        numbers: dict[str, Any] = {}
        for key, item in value.items():
            numbers |= split_numbers(f"{name}_{key}", item, labels)
        return numbers
    is_vector = getattr(value, "ndim", None) == 1 or isinstance(value, list | tuple)
    if is_vector and 0 < len(value) <= MAX_NUMBERS:
        keys = labels if len(labels) == len(value) else range(len(value))
        numbers = {f"{name}_{k}": one_number(x) for k, x in zip(keys, value, strict=True)}
        if None not in numbers.values():
            return numbers
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    found = kind if shape is None else f"{kind.lower()} of shape {tuple(shape)}"
    message = f"must give a number, or a vector or dict of up to {MAX_NUMBERS} numbers"
    raise UserError(f"the metric '{name}' {message}, not a {found}")


def find_families(names: Iterable[str]) -> dict[str, list[str]]:
    """Finds numbers that are counted, such as ``mae_1``, ``mae_2``, ``mae_3``, by their stem.

    A chart for each of them would be too many to read.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        stem, _, number = name.rpartition("_")
        if stem and number.isdigit():
            families.setdefault(stem, []).append(name)
    return {stem: members for stem, members in families.items() if len(members) >= MIN_FAMILY}


def make_tags(names: Iterable[str]) -> dict[str, str]:
    """The tag of each number for trackers: ``mae/1`` of a family, which is one group of charts."""
    names = list(names)
    tags = {name: name for name in names}
    for stem, members in find_families(names).items():
        tags |= {name: f"{stem}/{name[len(stem) + 1 :]}" for name in members}
    return tags
