"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch

from base.checkpoint.nested import find_tensors, map_tensors
from base.checkpoint.views import flatten_storage, get_view
from utils.batch import PINNED_FOR


def copy_to_cpu(state: Any, earlier: Any = None) -> Any:
    """Copies a state into the CPU's memory, so that later steps do not change it.

    Accelerators copy into pinned memory, one tensor after the other. Only the last copy is waited
    for. Tensors that share memory share it in the copy too.

    Args:
        state: nested dicts, lists, tensors and plain values.
        earlier: an earlier copy. Its memory is reused where the sizes are equal, because allocating
            memory takes longer than copying.
    """
    copier = _Copier(earlier)
    copies = {id(tensor): copier.copy(tensor) for tensor in find_tensors(state)}
    copier.wait()
    return copy.deepcopy(state, copies)  # in which the tensors are copied already


def move_to_cpu(state: Any) -> Any:
    """Moves the tensors of accelerators to the CPU. Other tensors are not copied.

    ``torch.load`` puts a tensor on the device that its file names. So a file with tensors of an
    accelerator could not be read on a machine without one.
    """
    copier = _Copier()
    moved = map_tensors(state, lambda _, tensor: tensor if tensor.is_cpu else copier.copy(tensor))
    copier.wait()
    return moved


class _Copier:
    """Copies tensors, each storage once.

    Args:
        earlier: an earlier copy, whose memory is reused.
    """

    def __init__(self, earlier: Any = None) -> None:
        self._storages: dict[tuple[torch.device, int], torch.Tensor] = {}
        self._accelerators: set[torch.device] = set()
        self._unused: dict[tuple[int, bool], list[torch.Tensor]] = defaultdict(list)
        tensors = [tensor for tensor in find_tensors(earlier) if get_view(tensor) is not None]
        storages = {data.data_ptr(): data for data in map(flatten_storage, tensors)}
        for memory in storages.values():
            self._unused[memory.nbytes, memory.is_pinned()].append(memory)

    def wait(self) -> None:
        """Waits until the copies are complete."""
        for device in self._accelerators:
            torch.accelerator.synchronize(device)

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """Starts to copy a tensor. One without data is returned itself."""
        if tensor.is_meta:
            return tensor
        view = get_view(tensor)
        if view is None or tensor.is_conj() or tensor.is_neg():
            return tensor.detach().to("cpu", copy=True)
        key = (view.device, view.storage)
        if key not in self._storages:
            self._storages[key] = self._copy_storage(flatten_storage(tensor.detach()))
        copied = torch.empty(0, dtype=view.dtype)
        storage = self._storages[key].untyped_storage()
        return copied.set_(storage, view.offset, view.shape, view.stride)  # type: ignore[arg-type]

    def _copy_storage(self, data: torch.Tensor) -> torch.Tensor:
        if not data.is_cpu:
            self._accelerators.add(data.device)
        is_pinned = data.device.type in PINNED_FOR
        unused = self._unused[data.nbytes, is_pinned]
        if unused:
            memory = unused.pop(0)
        else:
            memory = torch.empty_like(data, device="cpu", pin_memory=is_pinned)
        return memory.copy_(data, non_blocking=True)
