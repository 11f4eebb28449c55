"""Which parameters are trained in which epoch, and what prepares them. Here: all of them, always.

The core calls the methods of ``Phases``. An optional room subclasses it, and is registered in
``base/features.py``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from utils.options import SectionOptions

if TYPE_CHECKING:
    from config import ConfigParser


class Phases:
    """Trains all parameters in every epoch. Every method is a no-op that a subclass may override.

    ``train.py`` makes one instance, which prepares the model and the optimizer. ``BaseTrainer``
    makes another one from the same config, for ``begin_epoch``. Nothing is
    handed from one to the other, so a subclass derives what it needs from its options and the
    model. The model is always the unwrapped one, without DDP or DataParallel around it.

    Attributes:
        section: the top-level key of the config that selects the subclass.
        options_type: the schema of that section.
    """

    section: ClassVar[str] = ""
    options_type: ClassVar[type[SectionOptions]] = SectionOptions

    @classmethod
    def from_config(cls, config: ConfigParser, logger: logging.Logger) -> Phases:
        """Makes an instance from the options in ``config[cls.section]``."""
        return cls()

    def prepare_model(self, model: nn.Module, loader: Any, resuming: bool) -> None:
        """Loads start weights, replaces the head and freezes parameters, in place.

        Args:
            model: on the CPU or the device, before it is wrapped.
            loader: of the training data, which may tell its classes.
            resuming: the checkpoint will bring the weights, so none are loaded here.

        Raises:
            UserError: the options do not fit the model, the file or the data.
        """

    def replace_head(self, model: nn.Module) -> None:
        """Replaces the output layer in place: the part of ``prepare_model`` that test.py needs."""

    def adapt_loaders(
        self, model: nn.Module, loaders: list[Any], device: torch.device, dry_run: bool = False
    ) -> list[Any]:
        """Replaces the data, and what the model expects as its input, by something cheaper.

        Args:
            model: on the device, prepared; may be changed in place.
            loaders: of training and validation; None for one that is absent.
            device: takes the model's inputs.
            dry_run: only check that it would work.

        Returns:
            The loaders to train with, in the same order.

        Raises:
            UserError: it does not work with this model or this data.
        """
        return loaders

    def parameter_groups(self, model: nn.Module, lr: float | None) -> list[Any]:
        """Returns the optimizer's first argument: parameters, or groups of them.

        Args:
            model: prepared.
            lr: the optimizer's learning rate; None if it has none.

        Raises:
            UserError: the options do not fit the model or the optimizer.
        """
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def begin_epoch(self, epoch: int, model: nn.Module, optimizer: Optimizer | None) -> bool:
        """Freezes and thaws parameters for ``epoch``, in place.

        Args:
            epoch: from 1.
            model: unwrapped.
            optimizer: of the model; a hook may look at its steps. None if the trainer has none.

        Returns:
            Whether other parameters are trained than before. DDP fixes its parameter list when it
            is constructed, so the model then needs a new wrapper.
        """
        return False


def make_phases(config: ConfigParser, logger: logging.Logger) -> Phases:
    """Makes the registered ``Phases`` whose section the config has, else the one that does nothing.

    Args:
        config: of the run.
        logger: gets the messages about loading, freezing and thawing.
    """
    from base.features import of_kind  # the features import this module

    for kind in of_kind(Phases):
        if config.get(kind.section):
            return kind.from_config(config, logger)
    return Phases()
