"""Phases: the interface of features that choose which parameters are trained in which epoch.

The core calls the methods of ``Phases``. A feature subclasses it and is registered in
``base/features.py``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from utils.options import SectionFeature

if TYPE_CHECKING:
    from config import ConfigParser


class Phases(SectionFeature):
    """Trains all parameters in every epoch. A subclass overrides the methods that it needs.

    ``train.py`` makes one instance, which prepares the model and the optimizer. ``BaseTrainer``
    makes another one from the same config, for ``begin_epoch``. The two share no state, so a
    subclass derives everything from its options and the model. The model is always the unwrapped
    one, without DDP or DataParallel around it.

    Attributes:
        grouping_options: the options that determine the optimizer's parameter groups.
    """

    grouping_options: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_config(cls, config: ConfigParser, logger: logging.Logger) -> Phases:
        """Makes an instance from the options in ``config[cls.section]``."""
        return cls()

    def prepare_model(self, model: nn.Module, loader: Any, resuming: bool) -> None:
        """Loads start weights, replaces the head and freezes parameters, in place.

        Args:
            model: the model on any device, not yet wrapped.
            loader: the training loader, whose dataset may name its classes.
            resuming: whether a checkpoint will provide the weights, so none are loaded here.

        Raises:
            UserError: the options do not fit the model, the file or the data.
        """

    def load_start_weights(self, model: nn.Module) -> None:
        """Loads the start weights in place. test.py needs it if a checkpoint lacks some of them."""

    def replace_head(self, model: nn.Module) -> None:
        """Replaces the output layer in place. test.py needs only this of ``prepare_model``."""

    def adapt_loaders(
        self, model: nn.Module, loaders: list[Any], device: torch.device, dry_run: bool = False
    ) -> list[Any]:
        """Replaces the data, for example by the outputs of frozen layers, to save computation.

        Args:
            model: the prepared model on its device; it may be changed in place.
            loaders: the training and the validation loader; the latter may be None.
            device: the device of the model's inputs.
            dry_run: only check whether the data can be replaced.

        Returns:
            The loaders to train with, in the same order.

        Raises:
            UserError: the model or the data does not allow it.
        """
        return loaders

    def parameter_groups(
        self, model: nn.Module, lr: float | None, names: set[str] | None = None
    ) -> list[Any]:
        """Returns the optimizer's first argument: parameters, or groups of them.

        Args:
            model: the prepared model.
            lr: the optimizer's learning rate; None if it has none.
            names: of the parameters that this optimizer may have; None for all.

        Raises:
            UserError: the options do not fit the model or the optimizer.
        """
        return [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (names is None or name in names)
        ]

    def begin_epoch(self, epoch: int, model: nn.Module, optimizer: Optimizer | None) -> bool:
        """Freezes and thaws parameters for ``epoch``, in place.

        Args:
            epoch: the number of the epoch, from 1.
            model: the unwrapped model.
            optimizer: the optimizer of the model; None if the trainer has none.

        Returns:
            Whether the set of trained parameters has changed. DDP fixes its parameter list when it
            is constructed, so the model then needs a new wrapper.
        """
        return False


def make_phases(config: ConfigParser, logger: logging.Logger) -> Phases:
    """Makes the registered ``Phases`` whose section is in the config, or a plain ``Phases``.

    Args:
        config: the config of the run.
        logger: gets the messages about loading, freezing and thawing.
    """
    from base.features import of_kind  # the features import this module

    for kind in of_kind(Phases):
        if config.get(kind.section):
            return kind.from_config(config, logger)
    return Phases()
