"""Two datasets whose classes differ are refused."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from base import BaseDataLoader
from base.data.classes import find_classes
from base.data.loader import describe_data, prepare_loader
from base.data.split import get_labels
from tests.base.data.datasets import numbers
from utils.errors import UserError

CPU = torch.device("cpu")


class Named(Dataset[Any]):
    def __init__(self, *names: str, labels: dict[str, Any] | None = None) -> None:
        self.classes: Any = list(names)
        if labels is not None:
            self.class_to_idx = labels

    def __getitem__(self, index: int) -> Any:
        return index, index

    def __len__(self) -> int:
        return 8


class Wrapper(Named):
    """Keeps a dataset under another name than torch's."""

    def __init__(self, base: Any) -> None:
        self.base = base


@pytest.mark.parametrize("names", [np.array(["a", "b"]), {0: "a", 1: "b"}, {"a": 0, "b": 1}])
def test_classes_may_be_an_array_or_a_mapping(names: Any) -> None:
    data = Named()
    data.classes = names
    assert find_classes(data) == {"a": 0, "b": 1}


def test_labels_that_are_no_numbers_are_left_out() -> None:
    assert find_classes(Named("a", "b", labels={"a": "x", "b": "y"})) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: data,
        lambda data: Subset(Subset(data, range(6)), [0, 1]),
        lambda data: ConcatDataset([numbers(), data]),
        lambda data: Wrapper(data),
    ],
    ids=["plain", "subsets", "concatenated", "another name"],
)
def test_the_classes_inside_other_datasets_are_found(wrap: Any) -> None:
    assert find_classes(wrap(Named("ant", "bee"))) == {"ant": 0, "bee": 1}
    assert find_classes(wrap(numbers())) is None


@pytest.mark.parametrize(
    ("valid", "difference"),
    [
        (Named("bee", "cat"), "ant is missing, bee has the label 0 instead of 1"),
        (Named("ant", "bee"), "cat is missing"),
        (Named("ant", "bee", "cat", "dog"), "dog is new"),
        (Named("bee", "ant", "cat"), "ant has the label 1 instead of 0"),
        (Named("ant", "bee", "cat", labels={"ant": 0, "bee": 2, "cat": 1}), "bee has the label 2"),
    ],
)
def test_a_validation_with_other_classes_is_refused(valid: Any, difference: str) -> None:
    """ultralytics #26192, timm #957: the labels shift without a word."""
    train = BaseDataLoader(Named("ant", "bee", "cat"), 4)
    loader = BaseDataLoader(Subset(valid, range(4)), 4)
    for trained_on in (train, describe_data(train)):
        with pytest.raises(UserError, match=rf"valid_data_loader: .*{difference}"):
            prepare_loader(loader, "valid_data_loader", CPU, True, trained_on)


def test_equal_or_unknown_classes_are_accepted() -> None:
    train = BaseDataLoader(Named("ant", "bee"), 4)
    for data in (Named("ant", "bee"), numbers()):
        loader = BaseDataLoader(data, 4)
        assert prepare_loader(loader, "valid_data_loader", CPU, True, train) is loader
    assert prepare_loader(None, "valid_data_loader", CPU, True, train) is None


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX"])
def test_a_hidden_folder_is_no_class(name: str) -> None:
    with pytest.raises(UserError, match=f"data_loader: the folder {name} is taken for a class"):
        prepare_loader(BaseDataLoader(Named(name, "ant"), 4), "data_loader", CPU)


class Labelled:
    """Has the columns and features of a dataset of HuggingFace."""

    column_names = ("text", "label")

    def __init__(self) -> None:
        label = namedtuple("ClassLabel", "names")(["cat", "dog"])
        self.features = {"text": None, "label": label}

    def __len__(self) -> int:
        return 4

    def with_format(self, kind: None) -> dict[str, list[int]]:
        return {"label": [0, 1, 1, 0]}


def test_a_dataset_of_huggingface_names_its_classes() -> None:
    assert find_classes(Labelled()) == {"cat": 0, "dog": 1}
    assert list(get_labels(Labelled())) == [0, 1, 1, 0]
