"""Deciding whether an epoch was the best so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from utils.batch import num_batches
from utils.errors import UserError


def parse_monitor(monitor: str) -> tuple[str, str]:
    """Splits ``"min val_loss"`` into mode and metric; ``"off"`` gives ``("off", "")``. Raises UserError."""
    if monitor == "off":
        return "off", ""
    mode, _, metric = monitor.partition(" ")
    if mode not in ("min", "max") or not metric.strip():
        message = f"{monitor!r} must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'"
        raise UserError(message, key="monitor")
    return mode, metric.strip()


def worst(mode: str) -> float:
    """The value that any other is better than."""
    return {"min": inf, "max": -inf}.get(mode, 0.0)


def is_better(mode: str, value: float, best: float) -> bool:
    """Whether ``value`` improves on ``best``. A NaN never does, nor does an equal value."""
    return value < best if mode == "min" else value > best


def in_step(batches: Iterable[Any]) -> Iterator[Any]:
    """``batches``, and None for each that is another rank's only, so that all ranks go round equally often."""
    seen = 0
    for batch in batches:
        seen += 1
        yield batch
    for _ in range(seen, num_batches(batches) or 0):
        yield None
