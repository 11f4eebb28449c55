"""How a dataset is divided, and where the classes of its samples are found."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from base.data.split import class_weights, get_labels, split_indices
from utils.errors import UserError


@pytest.mark.parametrize(("split", "n_valid"), [(30, 30), (0.3, 30), (0.299, 29), (1, 1), (99, 99)])
def test_a_split_is_a_count_or_a_fraction(split: float, n_valid: int) -> None:
    train, valid = split_indices(100, split)
    assert len(valid) == n_valid
    assert sorted([*train, *valid]) == list(range(100))


def test_the_default_split_is_pytorch_templates() -> None:
    before = np.random.get_state()[1].tolist()
    train, valid = split_indices(100, 0.25)
    assert np.random.get_state()[1].tolist() == before
    state = np.random.get_state()
    np.random.seed(0)
    expected = np.arange(100)
    np.random.shuffle(expected)
    np.random.set_state(state)
    assert valid.tolist() == expected[:25].tolist()
    assert train.tolist() == expected[25:].tolist()


def test_another_seed_gives_another_split() -> None:
    first, again, other = (split_indices(100, 30, seed)[1].tolist() for seed in (1, 1, 0))
    assert first == again != other


@pytest.mark.parametrize("split", [0, 100, 101, -1, 1.0, 1.5, 0.001, -0.5, True, float("nan")])
def test_a_split_that_leaves_one_part_empty_is_refused(split: float) -> None:
    with pytest.raises(UserError, match=r"validation_split=.* of 100 samples") as caught:
        split_indices(100, split)
    assert "\n" not in str(caught.value)


# -- stratified -----------------------------------------------------------------------------------


def test_a_stratified_split_holds_every_class_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    train, valid = split_indices(100, 0.2, labels=labels)
    assert Counter(labels[valid].tolist()) == {0: 12, 1: 6, 2: 2}
    assert sorted([*train, *valid]) == list(range(100))


@pytest.mark.parametrize(
    "labels", [["a", "b"] * 20, torch.tensor([0.0, 1.0] * 20), [True, False] * 20]
)
def test_labels_of_any_type_can_be_divided(labels: Any) -> None:
    _, valid = split_indices(40, 10, labels=labels)
    array = np.asarray(labels)
    assert Counter((array[valid] == array[0]).tolist()) == {True: 5, False: 5}


def test_a_stratified_split_has_exactly_the_size_asked_for() -> None:
    for size in range(1, 30):
        assert len(split_indices(31, size, labels=np.arange(31) % 7)[1]) == size


def test_a_stratified_split_depends_on_its_seed() -> None:
    labels = np.arange(100) % 4
    one, other = (split_indices(100, 20, seed, labels)[1].tolist() for seed in (0, 1))
    assert one != other


# -- the classes ----------------------------------------------------------------------------------


class Labelled:
    """Samples, and whatever attributes describe them."""

    def __init__(self, n: int, **attributes: Any) -> None:
        self.n = n
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.n


@pytest.mark.parametrize("name", ["targets", "labels", "_labels", "y"])
def test_the_labels_of_a_dataset_are_found_by_their_usual_names(name: str) -> None:
    assert get_labels(Labelled(3, **{name: [0, 1, 0]})) == [0, 1, 0]


def test_an_attribute_of_another_length_holds_no_labels() -> None:
    assert get_labels(Labelled(3, targets=["cat", "dog"], y=[0, 1, 0])) == [0, 1, 0]


def test_the_labels_of_torchs_datasets_are_found() -> None:
    tensors = TensorDataset(torch.rand(4, 2), torch.tensor([0, 1, 2, 3]))
    assert get_labels(tensors).tolist() == [0, 1, 2, 3]
    assert get_labels(Subset(Subset(tensors, [3, 2, 0]), [0, 2])).tolist() == [3, 0]


@pytest.mark.parametrize("dataset", [range(3), SimpleNamespace(targets=5)], ids=["none", "no list"])
def test_a_dataset_without_labels_cannot_be_stratified(dataset: Any) -> None:
    with pytest.raises(
        UserError, match=r"stratify: .* has no `targets` or `labels` with a class per sample"
    ):
        get_labels(dataset)


def test_class_weights_make_all_classes_equally_likely() -> None:
    labels = np.array([7, 7, 7, 2, 7, 2])
    indices = np.array([5, 0, 1, 2])
    weights = class_weights(Labelled(6, targets=labels), indices)
    assert weights.tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])


def test_only_the_first_of_many_classes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        class_weights(Labelled(30, targets=np.arange(30)), np.arange(30))
    assert caplog.text.rstrip().endswith("19: 1, …")
