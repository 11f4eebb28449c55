"""What a training asks of its data loaders, whatever their class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch.utils.data import DataLoader

from utils.distributed import world_size
from utils.errors import UserError


class PositionedLoader(ABC):
    """A loader that can begin an epoch at any of its batches."""

    @abstractmethod
    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """The next pass is number ``epoch``, and begins with its batch number ``start_batch``."""


class DividedLoader(PositionedLoader):
    """A loader that divides every batch among the ranks, and whose position can be saved.

    Attributes:
        device: batches are transformed on it.
        n_samples: samples in one epoch.
        seed: of the order of the samples.
    """

    device: torch.device
    n_samples: int
    seed: int

    @property
    @abstractmethod
    def loss_weight(self) -> float:
        """The size of the batch given last, divided by the ranks' mean size of it."""

    @abstractmethod
    def list_batches(self) -> list[list[int]]:
        """The indices of the pass begun last, batch by batch; empty if samples have none."""

    @abstractmethod
    def for_evaluation(self) -> Self:
        """From now on, gives every sample exactly once, over all ranks."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The seed and the position."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues at a saved position."""


def prepare_loader(loader: Any, name: str, device: torch.device, evaluating: bool = False) -> Any:
    """Prepares a loader for a run on ``device``, with one or several processes.

    Args:
        loader: of any kind; None stays None.
        name: of the config's section, for the error.
        device: that batches are transformed on.
        evaluating: give every sample exactly once, over all ranks.

    Raises:
        UserError: several processes train, and the loader does not divide its batches.
    """
    divided = find_divided_loader(loader)
    if divided is not None:
        divided.device = device
        if evaluating:
            divided.for_evaluation()
    elif world_size() > 1 and loader is not None:
        kind = type(loader).__name__
        message = "cannot be divided among processes; use base.DatasetLoader, or a subclass of it"
        raise UserError(f"a {kind} {message} or of BaseDataLoader", key=name)
    return loader


def set_position(loader: Any, epoch: int, batch: int = 0) -> None:
    """Lets the next pass of a loader be number ``epoch``, and begin with ``batch``, if it can."""
    if isinstance(loader, PositionedLoader):
        loader.set_epoch(epoch, batch)
    elif batch == 0 and hasattr(loader, "set_epoch"):  # a loader of another library
        loader.set_epoch(epoch)


def get_loss_weight(loader: Any) -> float:
    """How much the batch given last counts; 1 where the loader does not say."""
    divided = find_divided_loader(loader)
    return 1.0 if divided is None else divided.loss_weight


def find_divided_loader(loader: Any) -> DividedLoader | None:
    """The DividedLoader that a loader is, or repeats, as ``inf_loop`` does; else None."""
    loader = unwrap_loader(loader)
    return loader if isinstance(loader, DividedLoader) else None


def unwrap_loader(loader: Any) -> Any:
    """The loader inside ``inf_loop`` and its like, which have it as ``loader``."""
    while not isinstance(loader, DataLoader) and hasattr(loader, "loader"):
        loader = loader.loader
    return loader
