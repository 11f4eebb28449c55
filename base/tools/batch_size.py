"""``train.py --find-batch-size``: how large a batch the device has memory for, by trying."""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch

from base.loop.lr_schedule import get_learning_rate
from base.tools.check import Trial, rounds, steps_of
from utils.batch import num_batches, num_samples, repeat_samples
from utils.distributed import world_size
from utils.errors import UserError, is_out_of_memory
from utils.util import prepare_device

MOST = 1 << 20  # samples, where the data does not tell how many there are


class FindBatchSize(Trial):
    """Stands in a RunFolder's place; leaves nothing behind.

    Source: the learning rate for another batch size, Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.1.

    Raises:
        UserError: there is no accelerator, or several processes were started.
    """

    def __enter__(self) -> FindBatchSize:
        if prepare_device(self.config.get("n_gpu", 1))[0].type == "cpu":
            raise UserError("--find-batch-size: is for accelerators; this run is on the CPU")
        if world_size() > 1:
            raise UserError("--find-batch-size: tries one device, in one process")
        super().__enter__()
        return self

    def bill(self, trainer: Any) -> str:
        """Tries, and tells the largest size that trains, and what it means for the learning rate.

        Raises:
            UserError: the trainer's loop is one of its own, its samples cannot be told, or not one of them fits.
        """
        loader = rounds(trainer, "--find-batch-size")
        batch = next(loader)
        own, known = num_samples(batch), getattr(loader.loader, "n_samples", None)
        if own == 0:
            raise UserError(
                "--find-batch-size: the batch does not tell its samples by the first dimension of its tensors"
            )
        most = known or num_batches(getattr(loader.loader, "dataset", None)) or MOST
        size = largest(
            lambda size: trains(trainer, repeat_samples(batch, size)), min(own, most), most
        )
        if size == 0:
            raise UserError("--find-batch-size: not one sample fits into the device's memory")
        limit = "all samples that there are" if size == most else f"{size + 1} is too large"
        lines = [
            f"Batch size: {size:,} trains on {trainer.device}; {limit}. Leave room where samples differ in size."
        ]
        lines += [f"  to train       train.py … --bs {size}"]
        if (lr := get_learning_rate(self.config)) is not None:
            lines += [
                f"  learning rate  {lr:g} for {own} samples would be {lr * size / own:.3g} (Goyal et al. 2017: as"
            ]
            lines += [
                "                 many times larger as the batch, after a warm-up; tried with SGD)"
            ]
        if self.config.get("parallel"):
            lines += ["  parallel       tried in one process; batch_size is that of all together"]
        return "\n".join(lines)


def largest(trains: Callable[[int], bool], start: int, most: int) -> int:
    """The largest number from 1 to ``most`` that ``trains``, found by doubling and bisecting; 0 if there is none."""
    fits, size = 0, start
    while trains(size):
        if size == most:
            return most
        fits, size = size, min(2 * size, most)
    return bisect_left(range(size), True, lo=fits + 1, key=lambda tried: not trains(tried)) - 1


def trains(trainer: Any, batch: Any) -> bool:
    """Whether there is memory for two optimizer steps with the batch: the second has the optimizer's state in it.

    Raises:
        RuntimeError: what torch raised, if it was not for lack of memory.
    """
    window = min(
        2, trainer._options.accumulation_steps
    )  # the second pass of one has gradients beside it
    learn = steps_of(trainer, accumulation_steps=window)
    try:
        for _ in range(2 * window):
            learn(batch)
        fits = True
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    # Outside of the handler, whose traceback holds all that the pass had made.
    trainer.optimizer.zero_grad()
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return fits
