"""The interfaces between a training loop and data loaders of any class."""

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
        """Lets the next pass have the number ``epoch``, and skip ``start_batch`` batches."""


class DividedLoader(PositionedLoader):
    """A loader that divides every batch among the ranks, and whose position can be saved.

    Attributes:
        device: the device on which batches are transformed.
        n_samples: the number of samples in an epoch.
        seed: determines the order of the samples.
    """

    device: torch.device
    n_samples: int
    seed: int

    @property
    @abstractmethod
    def loss_weight(self) -> float:
        """The size of this rank's last batch, divided by the ranks' mean size."""

    @abstractmethod
    def list_batches(self) -> list[list[int]]:
        """Lists the indices of each batch in the last pass; empty if samples have no indices."""

    @abstractmethod
    def for_evaluation(self) -> Self:
        """From now on, gives each sample to one rank only."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The seed and the position."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next pass continue at a saved position."""


def prepare_loader(loader: Any, name: str, device: torch.device, evaluating: bool = False) -> Any:
    """Prepares a loader for a run on ``device``, with one or several processes.

    Args:
        loader: a loader of any class, or None.
        name: the section of the config, for the error.
        device: the device on which batches are transformed.
        evaluating: whether to give each sample to one rank only.

    Returns:
        The same loader.

    Raises:
        UserError: several processes train, and the loader does not divide its batches.
    """
    divided = find_divided_loader(loader)
    if divided is not None:
        divided.device = device
        if evaluating:
            divided.for_evaluation()
    elif world_size() > 1 and loader is not None:
        message = "cannot divide its batches among processes; use a DatasetLoader or BaseDataLoader"
        raise UserError(f"a {type(loader).__name__} {message}", key=name)
    from base.data.worker import WorkerInit  # the interfaces above need none of its imports

    plain = unwrap_loader(loader)
    if isinstance(plain, DataLoader) and not isinstance(plain.worker_init_fn, WorkerInit):
        plain.worker_init_fn = WorkerInit(plain.worker_init_fn)
    return loader


def set_position(loader: Any, epoch: int, batch: int = 0) -> None:
    """Sets the number of a loader's next pass, and the batches to skip, if the loader can."""
    if isinstance(loader, PositionedLoader):
        loader.set_epoch(epoch, batch)
    elif batch == 0 and hasattr(loader, "set_epoch"):  # a loader of another library
        loader.set_epoch(epoch)


def get_loss_weight(loader: Any) -> float:
    """The weight of the last batch in the loss; 1 if the loader does not divide batches."""
    divided = find_divided_loader(loader)
    return 1.0 if divided is None else divided.loss_weight


def find_divided_loader(loader: Any) -> DividedLoader | None:
    """Returns the loader, or the one inside ``inf_loop``, if it is a DividedLoader; else None."""
    loader = unwrap_loader(loader)
    return loader if isinstance(loader, DividedLoader) else None


def unwrap_loader(loader: Any) -> Any:
    """Returns the loader inside wrappers such as ``inf_loop``, which name it ``loader``."""
    while not isinstance(loader, DataLoader) and hasattr(loader, "loader"):
        loader = loader.loader
    return loader
