"""The options of every trainer: their names, types and defaults are the schema of the config's ``trainer``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from utils.errors import Problem, UserError
from utils.options import SectionOptions, find_too_small, make_options, raise_problems


@dataclass(frozen=True)
class WandbOptions:
    """``trainer.wandb``: Weights & Biases.

    Attributes:
        project, entity, group, tags: where the run stands there.
        mode: ``offline`` needs no account and no network; ``wandb sync`` uploads it later.
        artifact: upload ``model_best.pt`` at the end.
        watch: histograms of every parameter or of its gradients, by W&B's own hooks, every 100 batches.
    """

    project: str
    mode: Literal["online", "offline", "disabled"] = "offline"
    entity: str | None = None
    group: str | None = None
    tags: list[str] | None = None
    artifact: bool = False
    watch: Literal["gradients", "parameters", "all"] | None = None


@dataclass(frozen=True)
class ProfileOptions:
    """``trainer.debug.profile``: which batches torch.profiler looks at.

    Attributes:
        wait: batches to pass over first.
        warmup: batches that are traced and thrown away, as the first ones are slow.
        active: batches that the trace and the table tell of.
    """

    wait: int = 1
    warmup: int = 1
    active: int = 3

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, wait=0, warmup=0, active=1))


@dataclass(frozen=True)
class DebugOptions:
    """``trainer.debug``: looking inside, at a price.

    Attributes:
        statistics: of every layer's output and its gradient, every 50 batches: norm, mean, share of zeros, of NaN.
        detect_nan: stop at the first layer that gives a number that is not finite, and name it and the samples.
        overfit_batches: train on the first so many batches only, again and again; 0 for all.
        profile: a torch.profiler trace of some batches, for TensorBoard, and a table of what takes the time.
    """

    statistics: bool = False
    detect_nan: bool = False
    overfit_batches: int = 0
    profile: ProfileOptions | None = None

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, overfit_batches=0))


@dataclass(frozen=True)
class TrainerOptions(SectionOptions):
    """What ``trainer`` in a config may say, beside its ``type`` and that class's own constructor arguments.

    Attributes:
        epochs: how many to train.
        save_dir: where run folders are made.
        save_period: a checkpoint every so many epochs; the last epoch and the best are always saved.
        save_steps: a checkpoint every so many optimizer steps too, within an epoch; null for none.
        save_minutes: the same every so many minutes.
        keep_last: how many checkpoints to keep, the best aside; null keeps all.
        keep_best: how many of the best epochs to keep: ``model_best.pt`` and, if more than one, each with its epoch.
        on_inexact_resume: what follows when resuming cannot give the same bits (another thread count, torch build,
            device, dataset): ``go_on``, or ``stop``.
        async_save: train on while a checkpoint is written.
        sharded_checkpoint: each process writes its part of a model that fsdp cuts, into a folder beside the checkpoint.
        on_save_error: what follows when one cannot be written (a full disk): ``stop``, or ``go_on`` without it.
        max_minutes: stop after so many, counted from the trainer's making, with a checkpoint, status 75; null for none.
        nan_policy: for a loss that is not finite: ``raise`` an error, ``skip`` its batch, or ``ignore`` it.
        verbosity: 0 warnings, 1 info, 2 debug.
        monitor: ``"min METRIC"``, ``"max METRIC"`` or ``"off"``: what decides which epoch is the best.
        early_stop: epochs without improvement that are tolerated; 0 or less never stops early.
        tensorboard: write TensorBoard files.
        wandb: write to Weights & Biases too: project, mode, entity, group, tags, artifact, watch; see WandbOptions.
        image_period: sample predictions as pictures every so many epochs; null for none.
        histogram_period: histograms of weights and gradients every so many epochs; null for none.
        debug: looking inside: statistics, detect_nan, overfit_batches, profile.
        precision: of the forward pass; bf16 and fp16 are mixed with fp32 by autocast.
        accumulation_steps: batches whose gradients make one optimizer step.
        grad_clip_norm: the gradient's largest L2 norm; null does not clip.
        ema_decay: of an exponential moving average of the weights, kept and evaluated beside them; null for none.
        compile: run the model through ``torch.compile``.
        channels_last: keep the weights of 2d convolutions in the order their kernels are fastest in; a model that
            calls ``view`` on their outputs needs ``reshape`` or ``flatten`` there.
        keep_memory: on the CPU, keep freed memory for the next step, as glibc can.
        warmup_steps: optimizer steps over which the learning rate rises linearly from near zero.
        lr_scheduler_interval: when the schedule moves: after each ``epoch`` or each optimizer ``step``; null
            takes what suits the scheduler (``step`` for OneCycleLR and CyclicLR).
        deterministic: ask cuDNN for reproducible algorithms.
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
    lr_scheduler_interval: Literal["epoch", "step"] | None = None
    deterministic: bool = True

    def __post_init__(self) -> None:
        counts = (
            "epochs",
            "save_period",
            "save_steps",
            "keep_last",
            "keep_best",
            "accumulation_steps",
        )
        least = dict.fromkeys((*counts, "image_period", "histogram_period"), 1)
        problems = find_too_small(self, **least, warmup_steps=0)
        for name in ("grad_clip_norm", "save_minutes", "max_minutes"):
            if (value := getattr(self, name)) is not None and not value > 0:
                problems.append(Problem(name, f"{value} must be above 0, or null"))
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            message = f"{self.ema_decay} must lie between 0 and 1, or be null"
            problems.append(Problem("ema_decay", message))
        if self.sharded_checkpoint and (
            self.async_save or (self.wandb is not None and self.wandb.artifact)
        ):
            message = "goes neither with async_save nor with wandb.artifact; turn it off"
            problems.append(Problem("sharded_checkpoint", message))
        if (
            self.compile
            and self.debug is not None
            and (self.debug.statistics or self.debug.detect_nan)
        ):
            message = (
                "statistics and detect_nan look between layers, which compile fuses; turn it off"
            )
            problems.append(Problem("debug", message))
        try:
            parse_monitor(self.monitor)
        except UserError as error:
            problems += error.problems
        raise_problems(problems)

    def check_length(self, batches: int) -> int:
        """Returns the optimizer steps of a run with so many batches an epoch.

        Raises:
            UserError: the warm-up would be longer than the run.
        """
        steps = self.epochs * math.ceil(batches / self.accumulation_steps)
        if self.warmup_steps > steps:
            message = (
                f"{self.warmup_steps} is longer than the run, which has {steps} optimizer steps"
            )
            raise UserError(message, key="trainer.warmup_steps")
        return steps

    def list_needing_update(self) -> list[str]:
        """The options that differ from their defaults and have an effect only in a loop with an ``Update``."""
        names = (
            "precision",
            "accumulation_steps",
            "grad_clip_norm",
            "ema_decay",
            "warmup_steps",
            "histogram_period",
        )
        changed = [name for name in names if getattr(self, name) != getattr(TrainerOptions, name)]
        return changed + [
            f"debug.{name}"
            for name in ("statistics", "detect_nan")
            if getattr(self.debug, name, False)
        ]

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> TrainerOptions:
        """The options in a config's ``trainer`` section; keys of the trainer's own are left to it."""
        return make_options(cls, section)


def parse_monitor(monitor: str) -> tuple[str, str]:
    """Splits ``"min val_loss"`` into mode and metric; ``"off"`` gives ``("off", "")``.

    Raises:
        UserError: it is neither.
    """
    if monitor == "off":
        return "off", ""
    mode, _, metric = monitor.partition(" ")
    if mode not in ("min", "max") or not metric.strip():
        message = f"{monitor!r} must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'"
        raise UserError(message, key="monitor")
    return mode, metric.strip()
