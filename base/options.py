"""The options of every trainer.

Their names, types, defaults and docstrings are the schema of the config's ``trainer`` section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from base.feature_options import DebugOptions, RunLength, SWAOptions, WandbOptions, WarmupOptions
from utils.errors import UserError
from utils.options import SectionOptions, make_options, raise_problems

# Options of `trainer` that have no effect without the feature that serves them: base/features.py.
SERVED_BY_FEATURES = ("debug", "histogram_period", "sharded_checkpoint", "wandb")


@dataclass(frozen=True)
class TrainerOptions(SectionOptions):
    """The options in the config's ``trainer`` section.

    The section also takes ``type``, and the arguments of the constructor of that class.

    Attributes:
        epochs: the number of epochs. With max_steps, it may be left out.
        max_steps: the number of optimizer steps after which the run ends, also inside an epoch;
            null for no limit.
        validate_steps: optimizer steps between validations inside an epoch, each with a checkpoint;
            null for none. There is always a validation at the end of an epoch.
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
        save: the weights of the model that checkpoints hold: ``all``, or ``trainable`` for those
            that are trained or have changed, as for LoRA or a head on a large frozen backbone. The
            model's constructor and ``transfer.init_from`` must give the others again.
        sharded_checkpoint: with fsdp, let each process write its shard of the model,
            into a folder beside the checkpoint.
        on_save_error: ``stop``, or ``go_on`` if a checkpoint cannot be written.
        max_minutes: stop after this time, with a checkpoint and exit status 75; null for no limit.
            The time counts from the start of this process's training.
        limit_batches: the largest number of batches in an epoch, a validation and a test, for a
            quick try of everything; null for all. The results are of a part of the data.
        nan_policy: for a loss or a gradient that is not finite: ``raise`` an error, or ``ignore``
            it. A step with such a gradient changes no weights.
        verbosity: 0 for warnings, 1 for info, 2 for debug.
        monitor: ``"min METRIC"`` or ``"max METRIC"`` selects the best epoch; ``"off"`` none.
        early_stop: stop when more epochs than this, one after another, bring no improvement; 0 or
            null never stops. With validate_steps, validations count instead of epochs.
        tensorboard: write TensorBoard files.
        wandb: write to Weights & Biases; see WandbOptions.
        image_period: epochs between pictures of samples with predictions; null for none.
        histogram_period: epochs between histograms of weights and gradients; null for none.
        debug: inspect layers, find NaN, overfit a batch, profile; see DebugOptions.
        precision: the precision of the forward pass; bf16 and fp16 use autocast.
        accumulation_steps: the number of batches whose gradients make one optimizer step.
        grad_clip_norm: the largest L2 norm of the gradient; null does not clip.
        grad_clip_value: the largest absolute value of a number in the gradient; null does not clip.
        ema_decay: the decay of an exponential moving average of the weights; null for none.
            The average is validated too.
        ema_warmup: let the decay rise to ``ema_decay``, so that the average leaves the first
            weights sooner. After n updates it is ``1 - (1 + n / gamma) ** -power``, or less.
        ema_warmup_gamma, ema_warmup_power: of ``ema_warmup``. The defaults reach 0.999 after 31,600
            updates; gamma 10 and power 1 after 9,990, which is TensorFlow's rule.
        swa: stochastic weight averaging; see SWAOptions. The average is validated too.
        activation_checkpointing: names of modules, such as ``layers.*``, that compute their
            activations again in the backward pass. This takes less memory and more time. A ``*``
            matches one component of a dotted name.
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
    max_steps: int | None = None
    validate_steps: int | None = None
    save_dir: str = "saved/"
    save_period: int = 1
    save_steps: int | None = None
    save_minutes: float | None = None
    keep_last: int | None = None
    keep_best: int = 1
    on_inexact_resume: Literal["go_on", "stop"] = "go_on"
    async_save: bool = False
    save: Literal["all", "trainable"] = "all"
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
    grad_clip_value: float | None = None
    ema_decay: float | None = None
    ema_warmup: bool = False
    ema_warmup_gamma: float = 1.0
    ema_warmup_power: float = 2 / 3
    swa: SWAOptions | None = None
    activation_checkpointing: str | list[str] | None = None
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
        from base.option_checks import find_problems

        problems = find_problems(self)
        try:
            parse_monitor(self.monitor)
        except UserError as error:
            problems += error.problems
        raise_problems(problems)

    def list_averages(self) -> list[str]:
        """Lists the kinds of averaged weights in the run: ``ema``, ``swa``."""
        kinds = {"ema": self.ema_decay is not None, "swa": self.swa is not None}
        return [kind for kind, is_used in kinds.items() if is_used]

    def without_averages(self) -> TrainerOptions:
        """The same options, but no weights are averaged."""
        names = [f.name for f in fields(self) if f.name.startswith(("ema_", "swa"))]
        off: dict[str, Any] = {name: getattr(TrainerOptions, name) for name in names}
        return replace(self, **off)

    def limit(self, batches: int | None) -> int | None:
        """Returns the number of batches in an epoch, of which the data has ``batches``.

        None means that it is unknown. With a limit, an unknown number counts as the limit.
        """
        if self.limit_batches is None or batches is None:
            return self.limit_batches if batches is None else batches
        return min(batches, self.limit_batches)

    def check_length(self, batches: int) -> int:
        """Checks that the warm-up fits into a run with ``batches`` batches per epoch.

        Returns:
            The number of optimizer steps in the run.

        Raises:
            UserError: the run ends before the warm-up does, or before the first validation.
        """
        steps = self.get_length(batches).steps
        assert steps is not None
        warmup = "warmup_steps" if self.warmup is None else "warmup.steps"
        values = {warmup: self.any_warmup.steps, "validate_steps": self.validate_steps}
        for key, value in values.items():
            if value is not None and value > steps:
                message = f"{value} is more than the {steps} optimizer steps of the run"
                raise UserError(message, key=f"trainer.{key}")
        return steps

    def get_length(self, batches: int | None) -> RunLength:
        """Returns the length of a run with ``batches`` batches per epoch; None if unknown."""
        if batches is None:
            return RunLength(self.epochs, self.max_steps, None)
        steps_per_epoch = math.ceil(batches / self.accumulation_steps)
        steps = self.epochs * steps_per_epoch
        if self.max_steps is None or self.max_steps >= steps:
            return RunLength(self.epochs, steps, steps_per_epoch)
        epochs = math.ceil(self.max_steps / steps_per_epoch)
        return RunLength(epochs, self.max_steps, steps_per_epoch)

    def validates_at(self, step: int) -> bool:
        """Whether a validation inside the epoch follows optimizer step number ``step``."""
        is_turn = self.validate_steps is not None and step % self.validate_steps == 0
        return is_turn or step == self.max_steps

    def list_needing_update(self) -> list[str]:
        """Lists the options in use that have no effect if the loop has no ``Update``."""
        names = [
            "precision",
            "accumulation_steps",
            "grad_clip_norm",
            "grad_clip_value",
            "ema_decay",
            "swa",
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

    def list_needing_steps(self) -> list[str]:
        """Lists the options in use that have no effect if the loop does not call ``after_step``."""
        names = ("max_steps", "validate_steps", "save_steps", "save_minutes")
        return [name for name in names if getattr(self, name) is not None]

    def list_needing_measure(self) -> list[str]:
        """Lists the options in use that need a trainer that can validate inside an epoch."""
        return [name for name in ("max_steps", "validate_steps") if getattr(self, name) is not None]

    def list_served_by_features(self) -> list[str]:
        """Lists the options in use that need an optional feature."""
        return [name for name in SERVED_BY_FEATURES if getattr(self, name)]

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> TrainerOptions:
        """Makes the options from the section, and ignores the trainer's other arguments in it."""
        if section.get("max_steps") is not None:  # an epoch has at least one step
            section = {"epochs": section["max_steps"], **section}
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
