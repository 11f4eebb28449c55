"""Copies views in a state, because a file would hold the full storage of each."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import nn

from base.checkpoint.nested import find_tensors, map_tensors

MAX_WASTED_FRACTION = 0.1  # of a storage; copying a storage that is used takes memory and time
MAX_GAP_FACTOR = 2  # a region that overlapping views share may have so many times their bytes
ALIGNMENT_BYTES = 16


class View(NamedTuple):
    """A part of a storage. Equal views are the same numbers in memory."""

    device: torch.device
    storage: int
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def span(self) -> tuple[int, int]:
        """The first byte of the storage that it uses, and the one after the last."""
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        return self.offset * self.dtype.itemsize, (last + 1) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """The bytes that it uses."""
        begin, end = self.span
        return min(self.shape.numel() * self.dtype.itemsize, end - begin)

    @property
    def is_expanded(self) -> bool:
        """Whether it uses some bytes several times, so that a clone would be larger."""
        begin, end = self.span
        return self.shape.numel() * self.dtype.itemsize > end - begin


def get_view(tensor: torch.Tensor) -> View | None:
    """The view that a tensor is; None if it has no storage of its own, or no elements."""
    is_plain = type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout is torch.strided
    if not is_plain or tensor.is_meta or tensor.is_quantized or tensor.numel() == 0:
        return None
    storage = tensor.untyped_storage().data_ptr()
    offset = int(tensor.storage_offset())
    return View(tensor.device, storage, offset, tensor.shape, tensor.stride(), tensor.dtype)


def copy_views(state: Any) -> Any:
    """Copies each view in a state whose storage is used only in part.

    Views that share memory share it in the copies too. A storage that is used is not copied.
    """
    of_storages: dict[tuple[torch.device, int], dict[View, torch.Tensor]] = defaultdict(dict)
    for tensor in find_tensors(state):
        if (view := get_view(tensor)) is not None:
            of_storages[view.device, view.storage].setdefault(view, tensor)
    copies: dict[Any, torch.Tensor] = {}
    for views in of_storages.values():
        num_bytes = next(iter(views.values())).untyped_storage().nbytes()
        wasted = num_bytes - sum(view.num_bytes for view in views)
        if wasted > MAX_WASTED_FRACTION * num_bytes:
            copies |= _copy_storage(views)
    return map_tensors(state, lambda name, tensor: copies.get(get_view(tensor), _trim(tensor)))


def _trim(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of an empty or sparse tensor if its storage is larger than its numbers."""
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.is_meta or tensor.is_quantized:
        return tensor
    if tensor.layout is torch.sparse_coo:
        values = tensor.detach()._values()  # `values` refuses uncoalesced ones
    elif tensor.layout is torch.strided and tensor.numel() == 0:
        values = tensor
    else:
        return tensor
    is_larger = values.untyped_storage().nbytes() > 2 * values.nbytes
    return _like(tensor.detach().clone(), tensor) if is_larger else tensor


def _copy_storage(views: dict[View, torch.Tensor]) -> dict[View, torch.Tensor]:
    clusters: list[list[View]] = []  # of views whose spans overlap
    end = 0
    for view in sorted(views, key=lambda view: view.span):
        if not clusters or view.span[0] >= end:
            clusters.append([])
        clusters[-1].append(view)
        end = max(end, view.span[1])
    copies: dict[View, torch.Tensor] = {}
    for cluster in clusters:
        copies |= _copy_cluster(cluster, views)
    return copies


def _copy_cluster(cluster: list[View], views: dict[View, torch.Tensor]) -> dict[View, torch.Tensor]:
    begin = min(view.span[0] for view in cluster) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
    end = max(view.span[1] for view in cluster)
    is_sparse = end - begin > MAX_GAP_FACTOR * sum(view.num_bytes for view in cluster)
    is_conj_or_neg = any(views[view].is_conj() or views[view].is_neg() for view in cluster)
    is_single = len(cluster) == 1 and not cluster[0].is_expanded
    if is_single or is_sparse or is_conj_or_neg:
        return {view: _like(views[view].detach().clone(), views[view]) for view in cluster}
    region = flatten_storage(views[cluster[0]])[begin:end].clone().untyped_storage()
    copies = {}
    for view in cluster:
        offset = view.offset - begin // view.dtype.itemsize
        new = torch.empty(0, dtype=view.dtype, device=view.device)
        copies[view] = _like(new.set_(region, offset, view.shape, view.stride), views[view])
    return copies


def _like(copy: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copy, requires_grad=tensor.requires_grad)
    return copy


def flatten_storage(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor's full storage, shape (num_bytes,) uint8, without a copy."""
    storage = tensor.untyped_storage()
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(
        storage, 0, (storage.nbytes(),), (1,)
    )
