"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

from typing import Any

import torch


def copy_to_cpu(value: Any, earlier: Any = None) -> Any:
    """Copies a state into the CPU's memory, so that later steps do not change it.

    Args:
        value: nested dicts, lists, tensors and plain values.
        earlier: an earlier copy. Its memory is reused if the shapes are equal, because allocating
            memory takes longer than copying.
    """
    if isinstance(value, torch.Tensor):
        if can_reuse(earlier, value):
            return earlier.copy_(value.detach())
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        known = earlier if isinstance(earlier, dict) else {}
        return {key: copy_to_cpu(item, known.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(copy_to_cpu, value))
    return value


def can_reuse(earlier: Any, value: torch.Tensor) -> bool:
    """Whether ``value`` can be copied into the memory of ``earlier``."""
    if not isinstance(earlier, torch.Tensor):
        return False
    return earlier.shape == value.shape and earlier.dtype == value.dtype
