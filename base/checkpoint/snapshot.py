"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

import copy
from typing import Any

import torch

from base.checkpoint.views import flatten_storage, get_view
from utils.batch import PINNED_FOR


def copy_to_cpu(state: Any, earlier: Any = None) -> Any:
    """Copies a state into the CPU's memory, so that later steps do not change it.

    Accelerators copy into pinned memory, one tensor after the other. Only the last copy is waited
    for. Tensors that share memory share it in the copy too.

    Args:
        state: nested dicts, lists, tensors and plain values.
        earlier: an earlier copy. Its memory is reused if the sizes are equal, because allocating
            memory takes longer than copying.
    """
    copier = _Copier()
    copied = copier.copy(state, earlier)
    copier.wait()
    return copied


def move_to_cpu(state: Any) -> Any:
    """Moves the tensors of accelerators to the CPU. Other tensors are not copied.

    ``torch.load`` puts a tensor on the device that its file names. So a file with tensors of an
    accelerator could not be read on a machine without one.
    """
    copier = _Copier(from_accelerators_only=True)
    moved = copier.copy(state, None)
    copier.wait()
    return moved


class _Copier:
    """Copies each storage once."""

    def __init__(self, from_accelerators_only: bool = False) -> None:
        self.from_accelerators_only = from_accelerators_only
        self._storages: dict[tuple[torch.device, int], torch.Tensor] = {}
        self._used: set[int] = set()  # the storages of the earlier copy that are in use again
        self._accelerators: set[torch.device] = set()

    def wait(self) -> None:
        """Waits until the copies are complete."""
        for device in self._accelerators:
            torch.accelerator.synchronize(device)

    def copy(self, value: Any, earlier: Any) -> Any:
        """Starts to copy ``value``."""
        if isinstance(value, torch.Tensor):
            is_kept = value.is_meta or (self.from_accelerators_only and value.is_cpu)
            return value if is_kept else self._copy_tensor(value, earlier)
        if isinstance(value, dict):
            known = earlier if isinstance(earlier, dict) else {}
            copied = copy.copy(value)  # keeps the type, and the `_metadata` of a state dict
            for key, item in value.items():
                copied[key] = self.copy(item, known.get(key))
            return copied
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return type(value)(self.copy(item, None) for item in value)
        return copy.copy(value) if isinstance(value, set | bytearray) else value

    def _copy_tensor(self, tensor: torch.Tensor, earlier: Any) -> torch.Tensor:
        view = get_view(tensor)
        if view is None or tensor.is_conj() or tensor.is_neg():
            return tensor.detach().to("cpu", copy=True)
        key = (view.device, view.storage)
        if key not in self._storages:
            self._storages[key] = self._copy_storage(flatten_storage(tensor.detach()), earlier)
        copied = torch.empty(0, dtype=view.dtype)
        storage = self._storages[key].untyped_storage()
        return copied.set_(storage, view.offset, view.shape, view.stride)  # type: ignore[arg-type]

    def _copy_storage(self, data: torch.Tensor, earlier: Any) -> torch.Tensor:
        if not data.is_cpu:
            self._accelerators.add(data.device)
        memory = self._find_memory(data, earlier)
        if memory is None:
            is_pinned = data.device.type in PINNED_FOR
            memory = torch.empty_like(data, device="cpu", pin_memory=is_pinned)
        return memory.copy_(data, non_blocking=True)

    def _find_memory(self, data: torch.Tensor, earlier: Any) -> torch.Tensor | None:
        """Returns the storage of an earlier copy; None if it does not fit or is in use."""
        if not isinstance(earlier, torch.Tensor) or get_view(earlier) is None:
            return None
        memory = flatten_storage(earlier)
        if memory.shape != data.shape or memory.data_ptr() in self._used:
            return None
        self._used.add(memory.data_ptr())
        return memory
