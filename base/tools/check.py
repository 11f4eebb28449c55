"""``train.py --check``: tries everything in a config on one batch and leaves nothing behind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from base.base_trainer import BaseTrainer
from base.data.loader import map_sets
from base.loop.assembly import list_trained
from base.loop.first_epoch import check_monitored
from base.loop.metrics import MetricSet
from base.loop.several_optimizers import list_optimizers
from base.options import TrainerOptions
from base.tools.batch_means import FirstBatch, find_batch_means
from base.tools.first_batches import FirstBatches
from base.tools.measurement import write_measurement
from base.tools.trial import Trial
from utils.batch import num_batches
from utils.util import inf_loop, to_plain_number

STEPS = 4  # on the one batch; the first one also includes one-time set-up
LENGTH_SHOWN = 8  # items of a list whose shapes are shown


class OneBatch(FirstBatches):
    """Has the length of the full loader, with which a schedule is compared."""

    def __len__(self) -> int:
        return len(self.loader)


def run(config: Any, make_trainer: Callable[..., BaseTrainer]) -> None:
    """Tries the config and prints what it found.

    Raises:
        UserError: something does not work; the text names its key and the user's own lines.
    """
    trial = Trial(config)

    def limit(loaders: list[Any]) -> list[Any]:
        # A schedule may refuse more steps than the run has.
        epochs = TrainerOptions.from_section(config["trainer"]).epochs
        steps = epochs * (num_batches(loaders[0]) or STEPS)
        train = OneBatch(loaders[0], 1, repeats=min(STEPS, steps))
        return [train, map_sets(lambda loader: FirstBatches(loader, 1), loaders[1])]

    with trial.running() as folder:
        trainer = trial.make(make_trainer, limit)
        with config.locating_errors():
            rows = try_everything(trainer, Path(folder.save_dir))
    if config.get("parallel"):
        kind = config["parallel"]["type"]
        rows["parallel"] = f"{kind}, tried in one process; the batch is that of all processes"
    print("All of it works:")
    for name, text in rows.items():
        print(f"  {name:<11} {text}")
    if unread := config.unread_keys(has_trained=True):
        print(f"Nothing reads these keys of the config: {', '.join(map(repr, unread))}")


def try_everything(trainer: BaseTrainer, folder: Path) -> dict[str, str]:
    """Trains and validates on the loaders' batches, and saves a checkpoint.

    Returns:
        The rows of the table: a name and a text each.
    """
    model, section = trainer.model, trainer.config["trainer"]
    loader = trainer.data_loader
    first = loader.loader if isinstance(loader, inf_loop) else loader
    batches_of_epoch = section.get("len_epoch")
    if batches_of_epoch is None and isinstance(first, FirstBatches):
        batches_of_epoch = num_batches(first.loader)
    batches_of_epoch = trainer.trainer_options.limit(batches_of_epoch)
    trainer.len_epoch = min(batches_of_epoch or STEPS, STEPS)
    options = trainer.trainer_options
    trainer.trainer_options = replace(options, validate_steps=None, max_steps=None)
    outputs: list[Any] = []
    started, start = time.time(), time.perf_counter()
    kept = keep_first_batches(trainer)
    hook = model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with hook, trainer.guard.watching(model):
        numbers = trainer._train_epoch(1)
    ended = time.perf_counter()
    try_numbers(trainer, numbers)
    trainer._save_checkpoint(1)
    trainer.checkpoints.wait()  # for an asynchronous one
    save_seconds = time.perf_counter() - ended
    trainer.writer.close()
    seconds = first.seconds if isinstance(first, FirstBatches) else []
    seconds = seconds or [ended - start]
    batches = first.batches if isinstance(first, FirstBatches) else []
    times = {"batch_seconds": min(seconds[1:] or seconds), "save_seconds": save_seconds}
    write_measurement(trainer, options, batches_of_epoch, times | {"started": started})
    sizes = [path.stat().st_size for path in folder.glob("checkpoint*")]
    found: dict[str, str] = {}
    for metrics, first_batch in kept:
        if first_batch.batch is not None:
            found |= find_batch_means(metrics.metrics, *first_batch.batch)
    for name, reason in found.items():
        trainer.logger.warning("%s is not a mean over samples: %s.", name, reason)
    return {
        "model": f"{type(model).__name__} on {trainer.device}",
        "parameters": describe_parameters(model, trainer.criterion),
        "batch": describe_shapes(batches[0] if batches else None),
        "output": describe_shapes(outputs[0]) if outputs else "unknown: nothing calls model(…)",
        "steps": describe_steps(batches_of_epoch, options),
        "checkpoint": f"{max(sizes, default=0) / 1e6:,.2f} MB",
        "faster by": describe_speedups(trainer, section),
        "seconds": f"{times['batch_seconds']:.4f} a batch, without loading it",
    }


def keep_first_batches(trainer: BaseTrainer) -> list[tuple[MetricSet, FirstBatch]]:
    """Lets each MetricSet of a trainer keep the outputs and targets of its first batch."""
    found = []
    for value in vars(trainer).values():
        for metrics in value.values() if isinstance(value, dict) else [value]:
            if isinstance(metrics, MetricSet) and metrics.rows is None:
                metrics.rows = first_batch = FirstBatch()
                found.append((metrics, first_batch))
    return found


def try_numbers(trainer: BaseTrainer, numbers: Any) -> None:
    """Checks the monitored number against those of an epoch, and calls the hook that gets them.

    If the batch has nothing that counts, as one whose targets are all ignored, a run decides.
    """
    log = {"epoch": 1} | (numbers if isinstance(numbers, dict) else {})
    is_valid = trainer.monitoring.metric.startswith("val_")
    if any(name != "epoch" and name.startswith("val_") == is_valid for name in log):
        check_monitored(log, trainer.monitoring, trainer.trainer_options)
    trainer.after_epoch({key: to_plain_number(value) for key, value in log.items()}, True)


def describe_parameters(model: torch.nn.Module, criterion: Any = None) -> str:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    text = f"{trainable + frozen:,} in all, {trainable:,} trainable, {frozen:,} frozen"
    of_loss = sum(parameter.numel() for parameter in list_trained(criterion))
    return f"{text}; {of_loss:,} more of the loss" if of_loss else text


def describe_steps(batches_of_epoch: int | None, options: TrainerOptions) -> str:
    if not batches_of_epoch:
        return "as many as the data has"
    steps = math.ceil(batches_of_epoch / options.accumulation_steps)
    if options.max_steps is not None and options.max_steps < options.epochs * steps:
        return f"{steps:,} an epoch, {options.max_steps:,} in all"
    return f"{steps:,} an epoch, {options.epochs * steps:,} in {options.epochs} epochs"


def describe_speedups(trainer: BaseTrainer, section: Any) -> str:
    optimizers = list_optimizers(trainer.optimizer)
    speedups = {"fused optimizer": any(item.defaults.get("fused") for item in optimizers)}
    speedups |= {name: section.get(name) for name in ("channels_last", "compile")}
    return ", ".join(name for name, is_on in speedups.items() if is_on) or "nothing"


def describe_shapes(value: Any) -> str:
    """The shapes and dtypes in a batch or an output: ``float32 (64, 1, 8, 8), int64 (64,)``."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {describe_shapes(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        if len(value) <= LENGTH_SHOWN:
            return ", ".join(map(describe_shapes, value))
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
