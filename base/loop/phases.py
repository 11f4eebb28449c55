"""Which parameters are trained in which epoch, and what prepares a model for it."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn


class Phases:
    """Trains all parameters in all epochs. ``base/transfer`` has the one that freezes some."""

    def __init__(self, options: Any = None, logger: logging.Logger | None = None) -> None:
        pass

    def prepare_model(self, model: nn.Module, resuming: bool, dataset: Any = None) -> None:
        """Loads start weights unless the run is resumed, replaces the head, freezes parameters."""

    def replace_head(self, model: nn.Module) -> None:
        """Gives the model the last layer that it was trained with."""

    def adapt_loaders(
        self, model: nn.Module, loaders: list[Any], device: torch.device, dry_run: bool = False
    ) -> list[Any]:
        """The loaders to train with; ``dry_run`` only finds out whether that works."""
        return loaders

    def parameter_groups(self, model: nn.Module, lr: float | None) -> list[Any]:
        """What the optimizer gets: parameters, or groups of them."""
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def begin_epoch(self, epoch: int, model: nn.Module) -> bool:
        """Freezes and thaws. Returns whether other parameters are trained than before."""
        return False

    def after_step(self, model: nn.Module) -> None:
        """Looks, after the first step of a phase, whether frozen parameters stayed as they were."""


def make_phases(config: Any, logger: logging.Logger) -> Phases:
    """The phases that the ``transfer`` section asks for."""
    from base import features

    if config.get("transfer"):
        for kind in features.of_kind(Phases):
            return kind(config.options("transfer"), logger)
    return Phases()
