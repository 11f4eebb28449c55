"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

import copy
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


def move_to_cpu(value: Any, storages: dict[int, Any] | None = None) -> Any:
    """Moves the tensors of an accelerator to the CPU. Other tensors are not copied.

    ``torch.load`` puts a tensor on the device that its file names. So a file with tensors of an
    accelerator could not be read on a machine without one.

    Args:
        value: nested dicts, lists, tensors and plain values, which stay as they are.
        storages: copies by address; tensors that share memory share it in the result too.
    """
    storages = {} if storages is None else storages
    if isinstance(value, torch.Tensor) and value.device.type not in ("cpu", "meta"):
        tensor = value.detach().resolve_conj().resolve_neg()
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in storages:
            storages[memory.data_ptr()] = memory.cpu()  # type: ignore[no-untyped-call]
        moved = torch.empty(0, dtype=tensor.dtype)
        view = (tensor.storage_offset(), tensor.size(), tensor.stride())
        return moved.set_(storages[memory.data_ptr()], *view)
    if isinstance(value, dict):
        moved_dict = copy.copy(value)  # keeps the class, and ``_metadata`` of a state dict
        moved_dict.update((key, move_to_cpu(item, storages)) for key, item in value.items())
        return moved_dict
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(move_to_cpu(item, storages) for item in value)
    return value
