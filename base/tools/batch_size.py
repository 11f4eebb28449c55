"""``train.py --find-batch-size``: the largest batch that fits into the memory of the device."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch

from base.base_trainer import BaseTrainer
from base.loop.several_optimizers import list_learning_rates
from base.tools.trial import StepTrainer, Trial, as_step_trainer, cycle_batches, make_step
from utils.batch import num_batches, num_samples, repeat_samples
from utils.distributed import world_size
from utils.errors import UserError, is_out_of_memory
from utils.util import prepare_device

OPTION = "--find-batch-size"
MAX_SAMPLES = 1 << 20  # tried if the size of the dataset is unknown


def run(config: Any, make_trainer: Callable[..., BaseTrainer]) -> None:
    """Tries batch sizes and prints the largest one that trains. Leaves nothing behind.

    Raises:
        UserError: there is no accelerator, or several processes were started.
    """
    if prepare_device(config.get("n_gpu", 1))[0].type == "cpu":
        raise UserError(f"{OPTION}: needs an accelerator, and this run is on the CPU")
    if world_size() > 1:
        raise UserError(f"{OPTION}: tries one device; start it in one process")
    trial = Trial(config)
    with trial.running():
        trainer = trial.make(make_trainer)
        print(suggest_batch_size(trainer))


def suggest_batch_size(trainer: BaseTrainer) -> str:
    """Finds the largest batch size that trains, and the learning rate for it. Returns a text.

    Source: the learning rate for another batch size, Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, section 2.1.

    Raises:
        UserError: the trainer has a loop of its own, the number of samples in a batch is unknown,
            or not a single sample fits.
    """
    step_trainer = as_step_trainer(trainer, OPTION)
    loader = cycle_batches(trainer.data_loader)
    batch = next(loader)
    configured = num_samples(batch)
    if configured == 0:
        message = "the number of samples in a batch is unknown: its tensors differ in dimension 0"
        raise UserError(f"{OPTION}: {message}")
    source = loader.loader
    available = getattr(source, "n_samples", None) or num_batches(getattr(source, "dataset", None))
    largest = available or MAX_SAMPLES
    start = min(configured, largest)

    def works(size: int) -> bool:
        return fits(step_trainer, repeat_samples(batch, size))

    size = find_largest(works, start, largest)
    if size == 0:
        raise UserError(f"{OPTION}: not one sample fits into the device's memory")
    limit = "these are all samples" if size == largest else f"{size + 1:,} is too large"
    lines = [
        f"Batch size: {size:,} trains on {trainer.device}; {limit}. "
        "Leave room where samples differ in size.",
        f"  to train       train.py … --bs {size}",
    ]
    if rates := list_learning_rates(trainer.config).values():
        before = ", ".join(f"{lr:g}" for lr in rates)
        after = ", ".join(f"{lr * size / configured:.3g}" for lr in rates)
        lines += [
            f"  learning rate  {before} for {configured} samples would be {after}",
            "                 (Goyal et al. 2017: scaled like the batch, after a warm-up; for SGD)",
        ]
    if trainer.config.get("parallel"):
        lines.append("  parallel       tried in one process; batch_size counts all processes")
    return "\n".join(lines)


def find_largest(works: Callable[[int], bool], start: int, limit: int) -> int:
    """The largest number from 1 to ``limit`` that works, by doubling and bisecting; 0 for none."""
    good = 0
    size = start
    while works(size):
        if size == limit:
            return limit
        good = size
        size = min(2 * size, limit)
    too_large = size
    while too_large - good > 1:
        middle = (good + too_large) // 2
        if works(middle):
            good = middle
        else:
            too_large = middle
    return good


def fits(trainer: StepTrainer, batch: Any) -> bool:
    """Whether there is memory for two optimizer steps: the second one has the optimizer's state.

    Raises:
        RuntimeError: what torch raised, if memory was not the reason.
    """
    # With accumulation, the gradients of the first pass are in memory during the second one.
    window = min(2, trainer.trainer_options.accumulation_steps)
    step = make_step(trainer, accumulation_steps=window)
    try:
        for _ in range(2 * window):
            step(batch)
        has_room = True
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        has_room = False
    # Not in the handler: its traceback refers to all tensors of the failed pass.
    trainer.optimizer.zero_grad()
    gc.collect()
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is not None:  # torch.accelerator.empty_cache fails on Apple's devices before 2.13
        torch.get_device_module(device).empty_cache()
    return has_room
