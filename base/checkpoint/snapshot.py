"""Copies a state, which is then written in the background while training continues."""

from __future__ import annotations

import copy
from typing import Any

import torch

from base.checkpoint.views import flatten_storage, get_view


def copy_to_cpu(value: Any, earlier: Any = None) -> Any:
    """Copies a state into the CPU's memory, so that later steps do not change it.

    Tensors that share memory share it in the copy too.

    Args:
        value: nested dicts, lists, tensors and plain values.
        earlier: an earlier copy. Its memory is reused if the sizes are equal, because allocating
            memory takes longer than copying.
    """
    return _Copier().copy(value, earlier)


class _Copier:
    """Copies each storage once."""

    def __init__(self) -> None:
        self._storages: dict[tuple[torch.device, int], torch.Tensor] = {}
        self._used: set[int] = set()  # the storages of the earlier copy that are in use again

    def copy(self, value: Any, earlier: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._copy_tensor(value, earlier)
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
        if isinstance(earlier, torch.Tensor) and get_view(earlier) is not None:
            memory = flatten_storage(earlier)
            if memory.shape == data.shape and memory.data_ptr() not in self._used:
                self._used.add(memory.data_ptr())
                return memory.copy_(data)
        return data.to("cpu", copy=True)
