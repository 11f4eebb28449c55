"""The options of transfer learning.

Their names, types and defaults are the schema of the config's ``transfer`` section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from utils.errors import Problem, UserError
from utils.options import SectionOptions, find_too_small, raise_problems


@dataclass(frozen=True)
class Head:
    """A new output layer.

    Attributes:
        num_classes: its number of outputs.
        name: of the Linear or Conv2d layer that it replaces; null takes the model's last one.
    """

    num_classes: int
    name: str | None = None

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, num_classes=1))


@dataclass(frozen=True)
class Thaw:
    """A phase: parameters that are trained from some epoch on.

    Attributes:
        epoch: the first epoch in which they are trained, counted from 1.
        params: which parameters, as in ``freeze``.
        lr_scale: their learning rate, as a multiple of the other parameters' rate.
    """

    epoch: int
    params: list[str] | str
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        problems = find_too_small(self, epoch=1)
        if not self.lr_scale > 0:
            problems.append(Problem("lr_scale", f"{self.lr_scale} must be above 0"))
        raise_problems(problems)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with their own learning rate or weight decay.

    Attributes:
        params: which parameters, as in ``freeze``.
        lr_scale: their learning rate, as a multiple of the optimizer's.
        lr: their learning rate itself.
        weight_decay: their weight decay.
    """

    params: list[str] | str
    lr_scale: float | None = None
    lr: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        values = {"lr_scale": self.lr_scale, "lr": self.lr, "weight_decay": self.weight_decay}
        if self.lr is not None and self.lr_scale is not None:
            raise UserError("lr and lr_scale exclude each other", key="lr")
        if all(value is None for value in values.values()):
            raise UserError("the group needs an lr, an lr_scale or a weight_decay", key="params")
        problems = [
            Problem(name, f"{value} must not be negative")
            for name, value in values.items()
            if value is not None and not value >= 0
        ]
        raise_problems(problems)


@dataclass(frozen=True)
class TransferOptions(SectionOptions):
    """The options in the config's ``transfer`` section.

    Attributes:
        init_from: start weights: a run's folder, a checkpoint, or a file of tensors.
            A folder gives its best checkpoint; a file is ``.pt``, ``.pth`` or ``.safetensors``.
            Tensors are matched by name and shape, and the log lists the rest.
        init_ema: take the checkpoint's EMA weights.
        init_swa: take the checkpoint's SWA weights.
        rename: new names for the tensors in the file: ``{"backbone.*": "features.*"}``.
        min_match: the fraction of the model's tensors that the file must match.
        head: a new output layer; it starts from random weights, also under ``init_from``.
        freeze: patterns of names, ``all_but_head``, or the number of last layers to train.
            A pattern is a glob over parameter names (``features.*``), or a module's name for all
            parameters inside it; ``!`` excludes.
        frozen_eval: keep frozen modules in eval mode, dropout included; frozen norms always are.
        thaw: phases, each with parameters that are trained from some epoch on.
        param_groups: parameters with their own learning rate or weight decay.
        layer_decay: the learning rate of each layer, as a multiple of the next layer's rate.
        no_decay: ``norm_and_bias`` applies no weight decay to parameters of at most one dimension.
        cache_features: compute the frozen modules' output once, and train the rest on it.
    """

    init_from: str | None = None
    init_ema: bool = False
    init_swa: bool = False
    rename: dict[str, str] | None = None
    min_match: float = 0.5
    head: Head | None = None
    freeze: list[str] | str | int | None = None
    frozen_eval: bool = True
    thaw: list[Thaw] | None = None
    param_groups: list[ParamGroup] | None = None
    layer_decay: float | None = None
    no_decay: Literal["norm_and_bias"] | None = None
    cache_features: bool = False

    @property
    def init_kind(self) -> str:
        """The weights in the checkpoint to start from: ``trained``, ``ema`` or ``swa``."""
        if self.init_ema:
            return "ema"
        return "swa" if self.init_swa else "trained"

    def __post_init__(self) -> None:
        problems = [*self._check_values(), *self._check_combinations()]
        raise_problems(problems)

    def _check_values(self) -> list[Problem]:
        problems = []
        if not 0 <= self.min_match <= 1:
            problems.append(Problem("min_match", f"{self.min_match} must lie between 0 and 1"))
        if isinstance(self.freeze, int) and self.freeze < 1:
            message = f"{self.freeze} must be at least 1: the number of last layers to train"
            problems.append(Problem("freeze", message))
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            message = f"{self.layer_decay} must be above 0 and at most 1"
            problems.append(Problem("layer_decay", message))
        return problems

    def _check_combinations(self) -> list[Problem]:
        problems = []
        if self.freeze is None:
            message = "has no effect without transfer.freeze: set it, or remove this"
            if self.thaw:
                problems.append(Problem("thaw", message))
            if self.cache_features:
                problems.append(Problem("cache_features", message))
        if not self.init_from:
            message = "has no effect without transfer.init_from: set it, or remove this"
            if self.rename:
                problems.append(Problem("rename", message))
            for name in ("init_ema", "init_swa"):
                if getattr(self, name):
                    problems.append(Problem(name, message))
        if self.init_ema and self.init_swa:
            problems.append(Problem("init_swa", "does not work with init_ema; remove one of them"))
        if self.cache_features and self.thaw:
            message = "thawed parameters would change the cached features; remove transfer.thaw"
            problems.append(Problem("cache_features", message))
        return problems

    def check_epochs(self, epochs: int) -> None:
        """Raises UserError for a phase that begins after the run's last epoch."""
        problems = [
            Problem(f"thaw.{index}.epoch", f"{phase.epoch} is after the last of {epochs} epochs")
            for index, phase in enumerate(self.thaw or [])
            if phase.epoch > epochs
        ]
        raise_problems(problems)

    def explain(self, config: Any) -> list[str]:
        """Lists which parameters are trained from which epoch on.

        The model is made on the meta device: its weights are neither needed nor downloaded.
        """
        import torch

        from base.transfer.transfer import describe_phases

        args = dict(config["arch"].get("args") or {})
        for name, value in (("weights", None), ("pretrained", False)):
            if name in args:
                args[name] = value
        with torch.device("meta"):
            return describe_phases(config.build("arch", changed_args=args), self)
