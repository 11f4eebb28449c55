"""The interfaces between a training loop and data loaders of any class."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Self, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from utils.distributed import world_size
from utils.errors import UserError
from utils.seed import temporary_seed
from utils.util import inf_loop


class PositionedLoader(ABC):
    """A loader that can begin an epoch at any of its batches."""

    @abstractmethod
    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Lets the next pass have the number ``epoch``, and skip ``start_batch`` batches."""


class DividedLoader(PositionedLoader):
    """A loader that divides every batch among the ranks, and whose position can be saved.

    Attributes:
        limit_batches: the most batches in a pass; None for all.
        device: the device on which batches are transformed.
        n_samples: the number of samples in an epoch.
        seed: determines the order of the samples.
        gives_fillers: whether an evaluation gives None for a batch that only other ranks have.
    """

    limit_batches: int | None = None
    device: torch.device = torch.device("cpu")
    n_samples: int
    seed: int
    gives_fillers = False

    @property
    @abstractmethod
    def loss_weight(self) -> float:
        """The size of this rank's last batch, divided by the ranks' mean size."""

    @property
    def n_in_batch(self) -> int | None:
        """The number of samples in this rank's last batch; None if it is unknown."""
        return None

    @property
    def is_in_pass(self) -> bool:
        """Whether a pass has begun, or was resumed, and has not ended or been left."""
        return False

    @property
    @abstractmethod
    def batches_left(self) -> int | None:
        """The number of batches after the last one in this pass; None if unknown."""

    @property
    @abstractmethod
    def num_given(self) -> int:
        """The number of batches that the last pass has given, over all ranks."""

    @abstractmethod
    def recheck(self) -> None:
        """Checks before the next batch whether the dataset that workers have copied has changed."""

    @abstractmethod
    def list_batches(self) -> list[list[int]]:
        """Lists the indices of each batch in the last pass; empty if samples have no indices."""

    @abstractmethod
    def for_evaluation(self, section: str = "data_loader") -> Self:
        """From now on, gives each sample to one rank only.

        Args:
            section: the section of the config that has made this loader, for errors.
        """

    @property
    @abstractmethod
    def is_for_evaluation(self) -> bool:
        """Whether ``for_evaluation`` was called, as it is for the split of a training loader."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The seed and the position."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next pass continue at a saved position."""


def map_sets(function: Callable[[Any], Any], loader: Any) -> Any:
    """Applies ``function`` to a loader, or to each of several in a dict; None stays None."""
    if isinstance(loader, dict):
        return {name: function(item) for name, item in loader.items()}
    return None if loader is None else function(loader)


def list_sets(loader: Any, *others: Any) -> list[tuple[Any, ...]]:
    """Lists the data sets of a loader, or of a dict of loaders.

    Returns:
        A tuple for each set: its name, which is empty for a single one, its loader, and its item in
        each of ``others``, which have the form of ``loader``.
    """
    if isinstance(loader, dict):
        return [(name, loader[name], *(other[name] for other in others)) for name in loader]
    return [] if loader is None else [("", loader, *others)]


def prepare_loader(
    loader: Any, name: str, device: torch.device, evaluating: bool = False, trained_on: Any = None
) -> Any:
    """Prepares a loader for a run on ``device``, with one or several processes.

    Args:
        loader: a loader of any class, a dict of several by name, or None.
        name: the section of the config, for the error.
        device: the device on which batches are transformed.
        evaluating: whether to give each sample to one rank only.
        trained_on: the training loader, or ``describe_data`` of it, whose classes must be the same.

    Returns:
        The same loader or loaders.

    Raises:
        UserError: several processes train, and the loader does not divide its batches; or its
            classes are not those of the training.
    """
    from base.data.classes import check_same_classes
    from base.data.fitting import take_over_fit

    if isinstance(loader, dict):
        for key, item in loader.items():
            prepare_loader(item, f"{name}.{key}", device, evaluating, trained_on)
        return loader
    divided = find_divided_loader(loader)
    if divided is not None and divided.is_for_evaluation:
        name = "data_loader"  # whose split this is
    classes = describe_data(loader, name)["classes"]
    if trained_on is not None:
        trained_on = trained_on if isinstance(trained_on, dict) else describe_data(trained_on)
        check_same_classes(trained_on.get("classes"), classes, name, "of the training data")
    take_over_fit(loader, trained_on)
    if divided is not None:
        divided.device = device
        if evaluating:
            divided.for_evaluation(name)
    elif world_size() > 1 and loader is not None:
        message = "cannot divide its batches among processes; use a DatasetLoader or BaseDataLoader"
        raise UserError(f"a {type(loader).__name__} {message}", key=name)
    from base.data.worker import WorkerInit  # the interfaces above need none of its imports

    plain = unwrap_loader(loader)
    if isinstance(plain, DataLoader) and not isinstance(plain.worker_init_fn, WorkerInit):
        plain.worker_init_fn = WorkerInit(plain.dataset, plain.worker_init_fn)
    return loader


def describe_data(loader: Any, key: str = "data_loader") -> dict[str, Any]:
    """The number of samples of a loader, if it divides batches, and the labels of its classes.

    Of a dataset that was fitted on the training part, also what it has found there.
    """
    from base.data.classes import find_classes
    from base.data.fitting import describe_fit, find_dataset

    divided, dataset = find_divided_loader(loader), find_dataset(loader)
    return {
        "samples": None if divided is None else divided.n_samples,
        "classes": find_classes(dataset, key),
        **describe_fit(dataset),
    }


def set_position(loader: Any, epoch: int, batch: int = 0) -> None:
    """Sets the number of a loader's next pass, and the batches to skip, if the loader can.

    Of a loader of another library, everything that has ``set_epoch`` is told the epoch. Of several
    loaders in a dict, this sets the position of each.
    """
    if isinstance(loader, dict):
        for item in loader.values():
            set_position(item, epoch, batch)
        return
    if isinstance(loader, PositionedLoader):
        loader.set_epoch(epoch, batch)
        return
    divided = find_divided_loader(loader)
    if divided is not None:  # repeated by inf_loop, whose passes are no epochs
        divided.recheck()
    elif loader is not None:
        from base.data.walk import call_set_epoch
        from base.data.worker_copies import refresh_workers

        names = ("sampler", "batch_sampler", "dataset", "collate_fn")
        loader = unwrap_loader(loader)
        if batch == 0 and hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        call_set_epoch(epoch, {name: getattr(loader, name, None) for name in names})
        refresh_workers(loader)


def get_rest(loader: Any, batch: int, len_epoch: int | None) -> Iterable[Any]:
    """The batches of an epoch after the first ``batch`` ones.

    Args:
        loader: of any class. ``inf_loop`` gives ``len_epoch`` batches for each epoch.
        batch: the number of batches that were taken already.
        len_epoch: the number of batches in an epoch, which may be an estimate; None if unknown.
    """
    if isinstance(loader, inf_loop):
        return islice(loader, max(0, (len_epoch or 0) - batch))
    if batch == 0 or isinstance(loader, PositionedLoader):
        return cast(Iterable[Any], loader)
    is_finished = batch == len_epoch and has_exact_length(loader)
    return () if is_finished else _skip_batches(loader, batch)


def has_exact_length(loader: Any) -> bool:
    """Whether a loader gives as many batches as its length says. Code of a user may estimate it."""
    from base.data.epoch_sampler import EpochSampler

    loader = unwrap_loader(loader)
    is_known = type(loader) is DataLoader or isinstance(loader, DividedLoader)
    sampler = getattr(loader, "batch_sampler", None) if is_known else None
    order = sampler.sampler if type(sampler) is BatchSampler else None
    return type(order) in (EpochSampler, RandomSampler, SequentialSampler)


def _skip_batches(loader: Any, count: int) -> Iterator[Any]:
    """Reads and drops batches, as this loader cannot begin elsewhere. No other code notices it."""
    logging.getLogger("data_loader").warning(
        "A %s begins every pass at its first batch: %d batches of this epoch are read and left "
        "out. If its order is random, samples may come twice or not at all; a BaseDataLoader "
        "resumes exactly.",
        type(loader).__name__,
        count,
    )
    with temporary_seed(0):
        batches = iter(loader)
        for _ in range(count):
            next(batches, None)
    yield from batches


def count_left(loader: Any, batch: int, len_epoch: int | None) -> int | None:
    """The batches left in an epoch, including number ``batch``; None if unknown."""
    if isinstance(loader, DividedLoader) and loader.batches_left is not None:
        return loader.batches_left + 1
    return None if len_epoch is None else len_epoch - batch + 1


def list_sizes(loader: Any, start: int) -> Iterator[int]:
    """The sizes of the batches of torch's own DataLoader; none if a sampler of a user decides."""
    is_torchs = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    if not is_torchs or type(loader.batch_sampler) is not BatchSampler:
        return
    sampler, size = loader.batch_sampler.sampler, loader.batch_sampler.batch_size
    if isinstance(sampler, RandomSampler | SequentialSampler):  # others may estimate their length
        for begin in range(start * size, len(sampler), size):
            yield min(size, len(sampler) - begin)


def find_counting_loader(loader: Any) -> DividedLoader | None:
    """Returns the loader that knows how many samples the last batch has; None if none does.

    A loader inside a wrapper does not, because the wrapper may repeat or change its batches.
    """
    is_wrapped = hasattr(loader, "loader") and not isinstance(loader, inf_loop)
    return None if is_wrapped else find_divided_loader(loader)


def find_divided_loader(loader: Any) -> DividedLoader | None:
    """Returns the loader, or the one inside ``inf_loop``, if it is a DividedLoader; else None."""
    loader = unwrap_loader(loader)
    return loader if isinstance(loader, DividedLoader) else None


def find_saveable_loader(loader: Any) -> Any:
    """Returns the loader inside wrappers; None if its position cannot be saved."""
    loader = unwrap_loader(loader)
    return loader if hasattr(loader, "load_state_dict") else None


def unwrap_loader(loader: Any) -> Any:
    """Returns the loader inside wrappers such as ``inf_loop``, which name it ``loader``."""
    while not isinstance(loader, DataLoader) and hasattr(loader, "loader"):
        loader = loader.loader
    return loader
