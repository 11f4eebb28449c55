"""``limit``: the loop by hand with everything that is known to make a step cheaper.

On every device: the fused optimizer, and numbers that are fetched once an epoch. On the CPU: a
malloc that keeps its pages. On an accelerator: batches in pinned memory, whose copy and transform
run on a side stream while the step before computes. The caller chooses autocast, the memory
format of the model and its compilation.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tests.benchmarks.peers import LR, Job

Tensors = tuple[torch.Tensor, ...]


def keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
    libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


class GatheredBatches(Dataset[Any]):
    """The batches of tensors in memory, shuffled for each epoch, as the items of a dataset.

    Args:
        tensors: the inputs and the targets.
        batch_size: samples in a batch.
        is_pinned: gather into pinned memory, which a device copies from without waiting.
    """

    def __init__(self, tensors: Tensors, batch_size: int, is_pinned: bool = False) -> None:
        self.tensors, self.batch_size, self.is_pinned = tensors, batch_size, is_pinned
        self.order = torch.arange(len(tensors[0]))

    def __getitem__(self, step: int) -> list[torch.Tensor]:
        if step >= len(self):
            raise IndexError(step)  # ends a `for` loop
        if step == 0:
            self.order = torch.randperm(len(self.order))
        index = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return [self.gather(tensor, index) for tensor in self.tensors]

    def gather(self, tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        # torch's allocator reuses pinned memory only after the copy to the device is done.
        shape = (len(index), *tensor.shape[1:])
        out = torch.empty(shape, dtype=tensor.dtype, pin_memory=self.is_pinned)
        return torch.index_select(tensor, 0, index, out=out)

    def __len__(self) -> int:
        return len(self.order) // self.batch_size


def prefetch(
    batches: Iterable[Any], device: torch.device, transform: Callable[[Any], Any] | None
) -> Iterator[Any]:
    """Yields the batches on ``device``, transformed; on an accelerator, one ahead of the step."""

    def prepare(batch: Any) -> list[torch.Tensor]:
        x, y = (value.to(device, non_blocking=True) for value in batch)
        return [x if transform is None else transform(x), y]

    if device.type == "cpu":
        yield from batches if transform is None else map(prepare, batches)
        return
    side = torch.Stream(device)
    ready: list[torch.Tensor] | None = None
    for batch in batches:
        with side:
            prepared = prepare(batch)
        if ready is not None:
            yield ready
        # The step that uses the batch runs on the current stream: it must wait for the side
        # stream, and the memory may not be used again before it is done.
        current = torch.accelerator.current_stream(device)
        current.wait_stream(side)
        for value in prepared:
            value.record_stream(current)
        ready = prepared
    if ready is not None:
        yield ready


def limit(job: Job) -> None:
    """Trains; see the docstring of this file."""
    device = job.device
    if device.type == "cpu":
        keep_freed_memory()
    model = job.model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    for _ in range(job.epochs):
        job.clock.begin()
        total, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for x, y in job.clock.watch(prefetch(job.train, device, job.transform)):
            with torch.autocast(device.type, torch.bfloat16) if job.bf16 else nullcontext():
                output = model(x)
                loss = F.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                total += loss
                right += (output.argmax(1) == y).sum()
        total.item()
        right.item()
        job.clock.end()
