"""The sections inside the config's ``trainer`` section, and the length of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from utils.errors import Problem
from utils.options import SectionOptions, find_too_small, raise_problems


@dataclass(frozen=True)
class WandbOptions:
    """``trainer.wandb``: Weights & Biases.

    Attributes:
        project: the project in W&B.
        mode: ``offline`` needs no account and no network; ``wandb sync`` uploads the run later.
        entity: the user or team in W&B.
        group: the group of runs in W&B.
        tags: labels of the run in W&B.
        artifact: upload ``model_best.pt`` at the end.
        watch: log histograms of the parameters, their gradients, or both, every 100 batches.
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
    """``trainer.debug.profile``: which batches torch.profiler records.

    Attributes:
        wait: the number of batches to skip first.
        warmup: the number of batches to trace and discard, because the first ones are slow.
        active: the number of batches in the trace and in the table.
    """

    wait: int = 1
    warmup: int = 1
    active: int = 3

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, wait=0, warmup=0, active=1))


@dataclass(frozen=True)
class DebugOptions:
    """``trainer.debug``: what to inspect during training. Each option makes training slower.

    Attributes:
        statistics: log statistics of each layer's outputs and their gradients, every 50 batches.
            These are the L2 norm, the mean, and the fractions of zeros and of NaN.
        detect_nan: stop at the first layer with an output that is not finite.
            The error names the layer and the samples.
        overfit_batches: repeat this number of batches instead of all data; 0 uses all data.
        profile: record a torch.profiler trace for TensorBoard, and print a table of times.
    """

    statistics: bool = False
    detect_nan: bool = False
    overfit_batches: int = 0
    profile: ProfileOptions | None = None

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, overfit_batches=0))

    @property
    def inspects_layers(self) -> bool:
        return self.statistics or self.detect_nan


@dataclass(frozen=True)
class SWAOptions:
    """``trainer.swa``: stochastic weight averaging, the equal average of the weights of epochs.

    A learning rate that stays high or cycles from ``start`` on comes from ``lr_scheduler``.
    Source: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407.

    Attributes:
        start: the first epoch whose weights are averaged, or a number below 1: the fraction of the
            epochs that come before it.
        steps: optimizer steps between the weights that are averaged. With null, these are the
            weights at the end of each epoch.
        batch_norm_batches: the largest number of training batches that give the average the
            statistics of its batch norms, in one more forward pass after each epoch.
    """

    start: float = 0.75
    steps: int | None = None
    batch_norm_batches: int = 200

    def __post_init__(self) -> None:
        problems = find_too_small(self, start=0, steps=1, batch_norm_batches=1)
        if self.start >= 1 and (math.isinf(self.start) or self.start != int(self.start)):
            message = f"{self.start} must be below 1, or the number of an epoch"
            problems.append(Problem("start", message))
        raise_problems(problems)

    def first_epoch(self, epochs: int) -> int:
        """The number of the first epoch whose weights are averaged, of a run of ``epochs``."""
        if self.start >= 1:
            return int(self.start)
        return math.floor(self.start * epochs + 1e-9) + 1  # 0.29 * 100 is below 29


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
