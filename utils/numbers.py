"""The values of metrics as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import UserError

MAX_NUMBERS = 1000  # of one metric


def one_number(value: Any) -> Any:
    """Returns the value of a metric as a scalar.

    Args:
        value: a number of Python or NumPy, or an array or tensor with one element.

    Returns:
        A number, or a 0-d tensor that stays on its device, because fetching it would wait. None for
        any other value.
    """
    if isinstance(value, int | float):
        return value
    if hasattr(value, "detach") and value.numel() == 1:
        return value if value.ndim == 0 else value.reshape(())
    if getattr(value, "size", None) == 1:
        return value.item()
    return None


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
    if isinstance(value, Mapping):
        items = list(value.items())
    elif getattr(value, "ndim", None) == 1 or isinstance(value, list | tuple):
        keys = labels if len(labels) == len(value) else range(len(value))
        items = list(zip(keys, value, strict=True))
    else:
        shape = getattr(value, "shape", None)
        kind = type(value).__name__
        found = kind if shape is None else f"{kind.lower()} of shape {tuple(shape)}"
        message = "must give a number, a vector of numbers or a dict of them"
        raise UserError(f"the metric '{name}' {message}, not a {found}")
    if not 0 < len(items) <= MAX_NUMBERS:
        message = f"gave {len(items)} numbers; 1 to {MAX_NUMBERS} can be logged"
        raise UserError(f"the metric '{name}' {message}")
    numbers: dict[str, Any] = {}
    for key, item in items:
        numbers |= split_numbers(f"{name}_{key}", item, labels)
    return numbers
