"""The loader of any dataset, and the choice of the data to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base import BaseDataLoader, DatasetLoader
from base.loaders import make_test_loader
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.data.datasets import list_indices, numbers
from tests.helpers import small_config
from utils.errors import UserError


def test_the_general_loader_takes_any_dataset() -> None:
    loader = DatasetLoader(numbers(100))
    assert isinstance(loader, BaseDataLoader)
    assert [len(batch) for batch in list_indices(loader)] == [32, 32, 32, 4]


def choose(tmp_path: Path, **sections: Any) -> tuple[int, str, str]:
    """The number of samples to test on, the words for them, and their section of the config."""
    config = ConfigParser(small_config(tmp_path) | sections)
    config.check(SCHEMA)
    loader, split, name = make_test_loader(config)
    samples = [sample for _, target in loader for sample in target.tolist()]
    assert len(samples) == loader.n_samples
    return loader.n_samples, split, name


def section(size: int, validation_split: int = 0) -> dict[str, Any]:
    """A loader of ``size`` pictures, which has no switch between training and test data."""
    args = {"size": size, "image_size": [1, 8, 8], "transform": {"type": "ToImage"}}
    dataset = {"type": "torchvision.datasets.FakeData", "args": args}
    return {
        "type": "DatasetLoader",
        "args": {"dataset": dataset, "batch_size": 4, "validation_split": validation_split},
    }


def test_the_test_data_of_the_config_come_first(tmp_path: Path) -> None:
    found = choose(tmp_path, data_loader=section(9, 2), test_data_loader=section(7))
    assert found == (7, "the test_data_loader", "test_data_loader")


def test_the_loader_may_have_a_test_part(tmp_path: Path) -> None:
    """The digits' loader takes ``training``; its validation split and its order do not matter."""
    args = {"batch_size": 7, "validation_split": 0.2, "shuffle": True}
    found = choose(tmp_path, data_loader={"type": "DigitsDataLoader", "args": args})
    assert found == (359, "the test part of the data_loader (training=False)", "data_loader")


def test_validation_data_serve_where_there_are_no_test_data(tmp_path: Path) -> None:
    found = choose(tmp_path, data_loader=section(9), valid_data_loader=section(7))
    assert found == (7, "the valid_data_loader (there is no test data)", "valid_data_loader")
    found = choose(tmp_path, data_loader=section(9, 5))
    assert found == (5, "the validation split (there is no test data)", "data_loader")


def test_without_any_of_them_there_is_nothing_to_test_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a test_data_loader, or a validation_split"):
        choose(tmp_path, data_loader=section(9))
    plain = {"type": "torch.utils.data.DataLoader", "args": section(9)["args"]}
    del plain["args"]["validation_split"]
    with pytest.raises(UserError, match="give a test_data_loader, or a validation_split"):
        choose(tmp_path, data_loader=plain)
