"""The options of transfer learning: their names, types and defaults are the schema of the config's ``transfer``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from utils.errors import Problem, UserError
from utils.options import SectionOptions, find_too_small, raise_problems


@dataclass(frozen=True)
class Head:
    """A new last layer.

    Attributes:
        num_classes: its outputs.
        name: of the layer that it replaces, a Linear or Conv2d; null takes the model's last one.
    """

    num_classes: int
    name: str | None = None

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, num_classes=1))


@dataclass(frozen=True)
class Thaw:
    """A phase: what is trained from some epoch on.

    Attributes:
        epoch: the first one, counted from 1.
        params: which parameters, as in ``freeze``.
        lr_scale: their learning rate, as a multiple of the others'.
    """

    epoch: int
    params: list[str] | str
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, epoch=1))
        if not self.lr_scale > 0:
            raise UserError(f"{self.lr_scale} must be above 0", key="lr_scale")


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with a learning rate or weight decay of their own.

    Attributes:
        params: which parameters, as in ``freeze``.
        lr_scale: their learning rate, as a multiple of the optimizer's.
        lr: their learning rate itself.
        weight_decay: theirs.
    """

    params: list[str] | str
    lr_scale: float | None = None
    lr: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if self.lr is not None and self.lr_scale is not None:
            raise UserError("excludes lr_scale; give one of the two", key="lr")
        if self.lr is None and self.lr_scale is None and self.weight_decay is None:
            message = "these parameters need a value for lr, lr_scale or weight_decay"
            raise UserError(message, key="params")
        for name in ("lr_scale", "lr", "weight_decay"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise UserError(f"{value} must not be negative", key=name)


@dataclass(frozen=True)
class TransferOptions(SectionOptions):
    """What ``transfer`` in a config may say.

    Attributes:
        init_from: start weights: a run's folder (its best), a checkpoint, or a state dict in a ``.pt``, ``.pth`` or
            ``.safetensors`` file. What fits by name and shape is loaded, and the rest is told.
        init_ema: take the checkpoint's EMA weights.
        rename: new names for the tensors in the file: ``{"backbone.*": "features.*"}``.
        min_match: the share of the model's tensors that must be found.
        head: a new last layer, which starts anew also under ``init_from``.
        freeze: patterns over parameter names (``features.*``; ``!`` takes back), ``all_but_head``, or a number: all but
            so many of the last layers.
        frozen_eval: keep all of a frozen module in eval mode, its dropout too; norms are always kept so.
        thaw: phases, each with what is trained from an epoch on.
        param_groups: parameters with a learning rate or weight decay of their own.
        layer_decay: the learning rate of each layer, as a multiple of that of the layer after it.
        no_decay: ``norm_and_bias`` spares all parameters of at most one dimension the weight decay.
        cache_features: compute what a frozen part puts out once for every sample, and train the rest on it.
    """

    init_from: str | None = None
    init_ema: bool = False
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

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.min_match <= 1:
            problems.append(Problem("min_match", f"{self.min_match} must lie between 0 and 1"))
        if isinstance(self.freeze, int) and self.freeze < 1:
            message = (
                f"{self.freeze} must be at least 1: the number of last layers that are trained"
            )
            problems.append(Problem("freeze", message))
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            message = f"{self.layer_decay} must be above 0 and at most 1"
            problems.append(Problem("layer_decay", message))
        needs = {
            "thaw": (self.thaw, self.freeze is not None, "transfer.freeze"),
            "cache_features": (self.cache_features, self.freeze is not None, "transfer.freeze"),
            "rename": (self.rename, bool(self.init_from), "transfer.init_from"),
            "init_ema": (self.init_ema, bool(self.init_from), "transfer.init_from"),
        }
        for name, (wanted, is_given, needed) in needs.items():
            if wanted and not is_given:
                problems.append(Problem(name, f"needs {needed}"))
        if self.cache_features and self.thaw:
            message = "thawed layers change their features; remove this or transfer.thaw"
            problems.append(Problem("cache_features", message))
        raise_problems(problems)

    def check_epochs(self, epochs: int) -> None:
        """Raises UserError for a phase that the run never comes to."""
        for index, phase in enumerate(self.thaw or []):
            if phase.epoch > epochs:
                message = f"{phase.epoch} comes after the last of {epochs} epochs"
                raise UserError(message, key=f"thaw.{index}.epoch")

    def explain(self, config: Any) -> list[str]:
        """Lists which parameters are trained from which epoch on.

        The model is made on the meta device: its weights are neither needed nor downloaded.
        """
        import torch

        from base.transfer.transfer import phases

        section = config["arch"]
        args = dict(section.get("args") or {})
        for name, value in (("weights", None), ("pretrained", False)):
            if name in args:
                args[name] = value
        with torch.device("meta"):
            model = config.build_node("arch", {"type": section["type"], "args": args})
            return phases(model, self)
