"""The options of every trainer.

Their names, types, defaults and docstrings are the schema of the config's ``trainer`` section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from base.feature_options import DebugOptions, WandbOptions
from utils.errors import Problem, UserError
from utils.options import SectionOptions, find_too_small, make_options, raise_problems

# Options of `trainer` that have no effect without the feature that serves them: base/features.py.
SERVED_BY_FEATURES = ("debug", "histogram_period", "sharded_checkpoint", "wandb")


class RunLength(NamedTuple):
    """How long a run is.

    Attributes:
        epochs: the number of epochs.
        steps: the number of optimizer steps; None if unknown, as with a stream.
        steps_per_epoch: the number of optimizer steps in an epoch; None if unknown.
    """

    epochs: int
    steps: int | None
    steps_per_epoch: int | None

    def count_intervals(self, interval: str) -> int | None:
        """Returns the number of intervals, each an ``epoch`` or a ``step``; None if unknown."""
        return self.epochs if interval == "epoch" else self.steps


@dataclass(frozen=True)
class WarmupOptions(SectionOptions):
    """``trainer.warmup``: a learning rate that rises linearly in the first optimizer steps.

    Attributes:
        steps: the number of optimizer steps. The last one has the full rate.
        from_: the factor of the first step's rate, from 0 to 1; null means 1 / steps.
    """

    steps: int
    from_: float | None = None

    def __post_init__(self) -> None:
        problems = find_too_small(self, steps=0)
        if self.from_ is not None and not 0 <= self.from_ <= 1:
            problems.append(Problem("from", f"{self.from_} must lie between 0 and 1, or be null"))
        raise_problems(problems)


@dataclass(frozen=True)
class TrainerOptions(SectionOptions):
    """The options in the config's ``trainer`` section.

    The section also takes ``type``, and the arguments of the constructor of that class.

    Attributes:
        epochs: the number of epochs.
        save_dir: the folder that holds all run folders.
        save_period: epochs between checkpoints; the last and the best epoch are always saved.
        save_steps: optimizer steps between checkpoints inside an epoch; null for none.
        save_minutes: minutes between checkpoints inside an epoch; null for none.
        keep_last: the number of checkpoints to keep besides the best ones; null keeps all.
        keep_best: the number of best epochs to keep; ``model_best.pt`` is the best.
            The others have their epoch in the name.
        on_inexact_resume: ``go_on`` or ``stop`` if a resume cannot reproduce an uninterrupted run,
            because of another number of threads or processes, torch version, device or dataset.
        async_save: continue training while a checkpoint is written.
        sharded_checkpoint: with fsdp, let each process write its shard of the model,
            into a folder beside the checkpoint.
        on_save_error: ``stop``, or ``go_on`` if a checkpoint cannot be written.
        max_minutes: stop after this time, with a checkpoint and exit status 75; null for no limit.
            The time counts from the start of this process's training.
        nan_policy: for a loss or a gradient that is not finite: ``raise`` an error, or ``ignore``
            it. A step with such a gradient changes no weights.
        verbosity: 0 for warnings, 1 for info, 2 for debug.
        monitor: ``"min METRIC"`` or ``"max METRIC"`` selects the best epoch; ``"off"`` none.
        early_stop: stop when more epochs than this, one after another, bring no improvement; 0 or
            null never stops.
        tensorboard: write TensorBoard files.
        wandb: write to Weights & Biases; see WandbOptions.
        image_period: epochs between pictures of samples with predictions; null for none.
        histogram_period: epochs between histograms of weights and gradients; null for none.
        debug: inspect layers, find NaN, overfit a batch, profile; see DebugOptions.
        precision: the precision of the forward pass; bf16 and fp16 use autocast.
        accumulation_steps: the number of batches whose gradients make one optimizer step.
        grad_clip_norm: the largest L2 norm of the gradient; null does not clip.
        ema_decay: the decay of an exponential moving average of the weights; null for none.
            The average is validated too.
        compile: run the model through ``torch.compile``.
        channels_last: store weights of 2d convolutions in a memory format that is often faster.
            A model that calls ``view`` on their outputs needs ``reshape`` instead.
        keep_memory: keep the CPU's freed memory for the next step (glibc only).
        warmup_steps: optimizer steps in which the learning rate rises linearly from near zero.
        warmup: the same with a rate to begin from; see WarmupOptions.
        lr_scheduler_interval: step the scheduler after each ``epoch`` or each optimizer ``step``;
            null means ``step`` for OneCycleLR and CyclicLR, also inside a SequentialLR or a
            ChainedScheduler, and ``epoch`` for all others.
        deterministic: use algorithms that give the same bits in every run, which can be slower on
            a GPU. An operation that has none gives a warning.
    """

    epochs: int
    save_dir: str = "saved/"
    save_period: int = 1
    save_steps: int | None = None
    save_minutes: float | None = None
    keep_last: int | None = None
    keep_best: int = 1
    on_inexact_resume: Literal["go_on", "stop"] = "go_on"
    async_save: bool = False
    sharded_checkpoint: bool = False
    on_save_error: Literal["stop", "go_on"] = "stop"
    max_minutes: float | None = None
    nan_policy: Literal["raise", "ignore"] = "raise"
    verbosity: Literal[0, 1, 2] = 2
    monitor: str = "off"
    early_stop: float | None = 0
    tensorboard: bool = True
    wandb: WandbOptions | None = None
    image_period: int | None = 1
    histogram_period: int | None = None
    debug: DebugOptions | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulation_steps: int = 1
    grad_clip_norm: float | None = None
    ema_decay: float | None = None
    compile: bool = False
    channels_last: bool = False
    keep_memory: bool = True
    warmup_steps: int = 0
    warmup: WarmupOptions | None = None
    lr_scheduler_interval: Literal["epoch", "step"] | None = None
    deterministic: bool = True

    @property
    def patience(self) -> float:
        """Epochs without improvement that are tolerated; ``inf`` never stops."""
        if self.early_stop is None or not self.early_stop > 0:
            return math.inf
        return self.early_stop

    @property
    def any_warmup(self) -> WarmupOptions:
        """The warm-up in its long form, which has 0 steps without one."""
        return WarmupOptions(self.warmup_steps) if self.warmup is None else self.warmup

    def __post_init__(self) -> None:
        problems = self._find_wrong_values() + self._find_wrong_combinations()
        try:
            parse_monitor(self.monitor)
        except UserError as error:
            problems += error.problems
        raise_problems(problems)

    def _find_wrong_values(self) -> list[Problem]:
        problems = find_too_small(
            self,
            epochs=1,
            save_period=1,
            save_steps=1,
            keep_last=1,
            keep_best=1,
            accumulation_steps=1,
            image_period=1,
            histogram_period=1,
            warmup_steps=0,
        )
        above_zero = {
            "grad_clip_norm": self.grad_clip_norm,
            "save_minutes": self.save_minutes,
            "max_minutes": self.max_minutes,
        }
        for name, value in above_zero.items():
            if value is not None and not value > 0:
                problems.append(Problem(name, f"{value} must be above 0, or null"))
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            message = f"{self.ema_decay} must lie between 0 and 1, or be null"
            problems.append(Problem("ema_decay", message))
        return problems

    def _find_wrong_combinations(self) -> list[Problem]:
        problems = []
        uploads = self.wandb is not None and self.wandb.artifact
        if self.sharded_checkpoint and (self.async_save or uploads):
            message = "works neither with async_save nor with wandb.artifact; turn it off"
            problems.append(Problem("sharded_checkpoint", message))
        if self.warmup is not None and self.warmup_steps:
            message = "is the short form of trainer.warmup.steps; remove one of the two"
            problems.append(Problem("warmup_steps", message))
        if self.compile and self.debug is not None and self.debug.inspects_layers:
            message = "statistics and detect_nan do not work with compile, which fuses layers"
            problems.append(Problem("debug", message))
        return problems

    def check_length(self, batches: int) -> int:
        """Checks that the warm-up fits into a run with ``batches`` batches per epoch.

        Returns:
            The number of optimizer steps in the run.

        Raises:
            UserError: the warm-up would be longer than the run.
        """
        steps = self.get_length(batches).steps
        assert steps is not None
        if self.any_warmup.steps > steps:
            message = f"{self.any_warmup.steps} is more than the {steps} optimizer steps of the run"
            key = "warmup_steps" if self.warmup is None else "warmup.steps"
            raise UserError(message, key=f"trainer.{key}")
        return steps

    def get_length(self, batches: int | None) -> RunLength:
        """Returns the length of a run with ``batches`` batches per epoch; None if unknown."""
        if batches is None:
            return RunLength(self.epochs, None, None)
        steps_per_epoch = math.ceil(batches / self.accumulation_steps)
        return RunLength(self.epochs, self.epochs * steps_per_epoch, steps_per_epoch)

    def list_needing_update(self) -> list[str]:
        """Lists the options in use that have no effect if the loop has no ``Update``."""
        names = [
            "precision",
            "accumulation_steps",
            "grad_clip_norm",
            "ema_decay",
            "warmup_steps",
            "warmup",
            "histogram_period",
        ]
        used = [name for name in names if getattr(self, name) != getattr(TrainerOptions, name)]
        if self.debug is not None and self.debug.statistics:
            used.append("debug.statistics")
        if self.debug is not None and self.debug.detect_nan:
            used.append("debug.detect_nan")
        return used

    def list_served_by_features(self) -> list[str]:
        """Lists the options in use that need an optional feature."""
        return [name for name in SERVED_BY_FEATURES if getattr(self, name)]

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> TrainerOptions:
        """Makes the options from the section, and ignores the trainer's other arguments in it."""
        return make_options(cls, section)


def parse_monitor(monitor: str) -> tuple[str, str]:
    """Splits ``"min val_loss"`` into mode and metric; ``"off"`` gives ``("off", "")``.

    Raises:
        UserError: ``monitor`` has another form.
    """
    if monitor == "off":
        return "off", ""
    mode, _, metric = monitor.partition(" ")
    if mode not in ("min", "max") or not metric.strip():
        message = f"{monitor!r} must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'"
        raise UserError(message, key="monitor")
    return mode, metric.strip()
