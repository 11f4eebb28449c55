"""The options of every trainer.

Their names, types, defaults and docstrings are the schema of the config's ``trainer`` section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from base.feature_options import DebugOptions, WandbOptions
from utils.errors import Problem, UserError
from utils.options import SectionOptions, find_too_small, make_options, raise_problems

# Options of `trainer` that have no effect without the feature that serves them: base/features.py.
SERVED_BY_FEATURES = ("debug", "histogram_period", "sharded_checkpoint", "wandb")


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
        limit_batches: the most batches in an epoch, of each validation and of a test, for a quick
            try of everything; null for all. The results are of a part of the data.
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
        lr_scheduler_interval: step the scheduler after each ``epoch`` or each optimizer ``step``;
            null means ``step`` for OneCycleLR and CyclicLR, and ``epoch`` for all others.
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
    limit_batches: int | None = None
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
    lr_scheduler_interval: Literal["epoch", "step"] | None = None
    deterministic: bool = True

    @property
    def patience(self) -> float:
        """Epochs without improvement that are tolerated; ``inf`` never stops."""
        if self.early_stop is None or not self.early_stop > 0:
            return math.inf
        return self.early_stop

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
            limit_batches=1,
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
        if self.compile and self.debug is not None and self.debug.inspects_layers:
            message = "statistics and detect_nan do not work with compile, which fuses layers"
            problems.append(Problem("debug", message))
        return problems

    def limit(self, batches: int | None) -> int | None:
        """Returns the number of batches in an epoch, of which the data has ``batches``.

        It is None if it is unknown. With a limit, an unknown number counts as the limit.
        """
        if self.limit_batches is None or batches is None:
            return self.limit_batches if batches is None else batches
        return min(batches, self.limit_batches)

    def check_length(self, batches: int) -> int:
        """Checks that the warm-up fits into a run with ``batches`` batches per epoch.

        Returns:
            The number of optimizer steps in the run.

        Raises:
            UserError: the warm-up would be longer than the run.
        """
        steps = self.epochs * math.ceil(batches / self.accumulation_steps)
        if self.warmup_steps > steps:
            message = f"{self.warmup_steps} is more than the {steps} optimizer steps of the run"
            raise UserError(message, key="trainer.warmup_steps")
        return steps

    def list_needing_update(self) -> list[str]:
        """Lists the options in use that have no effect if the loop has no ``Update``."""
        names = [
            "precision",
            "accumulation_steps",
            "grad_clip_norm",
            "ema_decay",
            "warmup_steps",
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
