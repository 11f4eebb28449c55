"""The values of metrics as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import UserError
from utils.util import one_number

MAX_NUMBERS = 1000  # of one metric


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
