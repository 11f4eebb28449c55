"""A loader for any dataset, and the loader of test data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from base.base_data_loader import BaseDataLoader
from base.data.limited import limit_loader, may_exceed
from base.data.worker import default_num_workers
from utils.errors import UserError


class DatasetLoader(BaseDataLoader):
    """Loads any dataset that a config names: ``{"type": "torchvision.datasets.CIFAR10", …}``.

    Args:
        dataset, batch_size, kwargs: as for BaseDataLoader.
        shuffle: draw a new order for every epoch; null does so, unless the dataset is iterable,
            which decides its order itself.
        num_workers: the number of processes that read data. null starts one process for each core,
            up to 8, and none if the data is in memory.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Iterable[Any],
        batch_size: int | None = 32,
        shuffle: bool | None = None,
        *,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        if num_workers is None:
            num_workers = default_num_workers(dataset, kwargs.get("cache", False))
        if shuffle and isinstance(dataset, IterableDataset):
            raise UserError(
                f"{type(dataset).__name__} is read in its own order, and cannot be shuffled; "
                "remove shuffle, and let the dataset shuffle",
                key="shuffle",
            )
        shuffle = True if shuffle is None else shuffle
        super().__init__(dataset, batch_size, shuffle, num_workers=num_workers, **kwargs)


def make_test_loader(config: Any) -> tuple[Any, str, str]:
    """Makes the loader for a test, which ``trainer.limit_batches`` limits.

    Returns:
        The loader, a description of its data, and the section of the config that made it.

    Raises:
        UserError: the config has no data to test on.
    """
    return _limit(config, *_make_full_loader(config))


def make_split_loader(config: Any, split: str) -> tuple[Any, str, str]:
    """Makes the loader for an evaluation on ``test``, ``valid`` or ``train``.

    Returns:
        The same as ``make_test_loader``. Training data have their transforms, and their order is
        that of the dataset.

    Raises:
        UserError: the config has no such data.
    """
    if split == "test":
        return make_test_loader(config)
    if split == "train":
        loader, text = _make_unshuffled(config, {}), "the training data"
        length = config["trainer"].get("len_epoch")  # the data may have no end
        loader = loader if length is None else limit_loader(loader, length)
        return _limit(config, loader, text, "data_loader")
    if split != "valid":
        raise UserError(f"there is no split '{split}'; choose test, valid or train")
    if config.get("valid_data_loader"):
        loader, text = config.build("valid_data_loader"), "the valid_data_loader"
        return _limit(config, loader, text, "valid_data_loader")
    loader, text = _make_validation_split(config)
    if loader is None:
        raise UserError("there is no validation data: give a validation_split")
    return _limit(config, loader, text, "data_loader")


def _limit(config: Any, loader: Any, text: str, section: str) -> tuple[Any, str, str]:
    """Limits an evaluation to ``trainer.limit_batches``, and says so."""
    count = config["trainer"].get("limit_batches")
    if count is None:
        return loader, text, section
    if may_exceed(loader, count):
        text = f"the first {count} batches (trainer.limit_batches) of {text}"
        message = "trainer.limit_batches: the test ends after %d batches; ~%s tests on all data."
        config.get_logger("test").warning(message, count, "trainer.limit_batches")
    return limit_loader(loader, count), text, section


def _make_full_loader(config: Any) -> tuple[Any, str, str]:
    if config.get("test_data_loader"):
        return config.build("test_data_loader"), "the test_data_loader", "test_data_loader"
    if config.takes("data_loader", "training"):
        changes = {"training": False, "validation_split": 0.0, "folds": None, "fold": None}
        text = "the test part of the data_loader (training=False)"
        return _make_unshuffled(config, changes), text, "data_loader"
    if config.get("valid_data_loader"):
        text = "the valid_data_loader (there is no test data)"
        return config.build("valid_data_loader"), text, "valid_data_loader"
    loader, text = _make_validation_split(config)
    if loader is None:
        message = "there is nothing to test on: give a test_data_loader, or a validation_split"
        raise UserError(message)
    return loader, f"{text} (there is no test data)", "data_loader"


def _make_unshuffled(config: Any, changes: dict[str, Any]) -> Any:
    """Makes the ``data_loader`` with other arguments. It gives each sample once, in order."""
    changes = {"shuffle": False, "drop_last": False} | changes
    args = dict(config["data_loader"].get("args", {}))
    for key in ("sampler", "batch_sampler"):
        args.pop(key, None)
    args |= {key: value for key, value in changes.items() if config.takes("data_loader", key)}
    return config.build("data_loader", changed_args=args)


def _make_validation_split(config: Any) -> tuple[Any, str]:
    """Makes the loader of the ``validation_split``, or None, and says in words what it holds."""
    split = getattr(config.build("data_loader"), "split_validation", None)  # torch's has none
    folds, fold = (config.get_argument("data_loader", key) for key in ("folds", "fold"))
    text = "the validation split" if folds is None else f"fold {fold} of {folds}"
    return None if split is None else split(), text
