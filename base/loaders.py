"""A loader for any dataset, and the loader of test data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from base.base_data_loader import BaseDataLoader
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
    loader, text, section = _make_full_loader(config)
    count = config["trainer"].get("limit_batches")
    if count is None:
        return loader, text, section
    from base.data.limited import limit_loader, may_exceed

    if may_exceed(loader, count):
        text = f"the first {count} batches (trainer.limit_batches) of {text}"
        message = "trainer.limit_batches: the test ends after %d batches; ~%s tests on all data."
        config.get_logger("test").warning(message, count, "trainer.limit_batches")
    return limit_loader(loader, count), text, section


def _make_full_loader(config: Any) -> tuple[Any, str, str]:
    if config.get("test_data_loader"):
        return config.build("test_data_loader"), "the test_data_loader", "test_data_loader"
    if config.takes("data_loader", "training"):
        changes: dict[str, Any] = dict.fromkeys(("training", "shuffle", "drop_last"), False)
        changes |= {"validation_split": 0.0, "folds": None, "fold": None}
        args = config["data_loader"].setdefault("args", {})
        args.pop("sampler", None)
        args.pop("batch_sampler", None)
        args.update({key: v for key, v in changes.items() if config.takes("data_loader", key)})
        text = "the test part of the data_loader (training=False)"
        return config.build("data_loader"), text, "data_loader"
    if config.get("valid_data_loader"):
        text = "the valid_data_loader (there is no test data)"
        return config.build("valid_data_loader"), text, "valid_data_loader"
    split = getattr(config.build("data_loader"), "split_validation", None)  # torch's has none
    loader = None if split is None else split()
    if loader is None:
        message = "there is nothing to test on: give a test_data_loader, or a validation_split"
        raise UserError(message)
    folds, fold = (config.get_argument("data_loader", key) for key in ("folds", "fold"))
    text = "the validation split" if folds is None else f"fold {fold} of {folds}"
    return loader, f"{text} (there is no test data)", "data_loader"
