"""The options of features that the config's ``trainer`` section turns on: trackers, debugging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.options import find_too_small, raise_problems


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
