"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

from typing import Any

import torch

from utils.batch import PINNED_FOR


def copy_to_cpu(state: Any, earlier: Any = None) -> Any:
    """Copies a state into the CPU's memory, so that later steps do not change it.

    Accelerators copy into pinned memory, one tensor after the other. Only the last copy is waited
    for.

    Args:
        state: nested dicts, lists, tensors and plain values.
        earlier: an earlier copy. Its memory is reused if the shapes are equal, because allocating
            memory takes longer than copying.
    """
    devices: set[torch.device] = set()
    copied = _start_copy(state, earlier, devices)
    for device in devices:
        torch.accelerator.synchronize(device)
    return copied


def _start_copy(value: Any, earlier: Any, devices: set[torch.device]) -> Any:
    """Starts to copy ``value``, and adds the accelerators of its tensors to ``devices``."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            devices.add(value.device)
        if not can_reuse(earlier, value):
            is_pinned = value.device.type in PINNED_FOR
            earlier = torch.empty_like(value, device="cpu", pin_memory=is_pinned)
        return earlier.copy_(value.detach(), non_blocking=True)
    if isinstance(value, dict):
        known = earlier if isinstance(earlier, dict) else {}
        return {key: _start_copy(item, known.get(key), devices) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_start_copy(item, None, devices) for item in value)
    return value


def can_reuse(earlier: Any, value: torch.Tensor) -> bool:
    """Whether ``value`` can be copied into the memory of ``earlier``."""
    if not isinstance(earlier, torch.Tensor):
        return False
    return earlier.shape == value.shape and earlier.dtype == value.dtype
