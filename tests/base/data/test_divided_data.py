"""What each of several ranks gets of the data."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset, WeightedRandomSampler

from base import BaseDataLoader
from base.data.loader import prepare_loader
from tests.base.data.datasets import list_indices, numbers
from tests.ranks import in_ranks
from utils.errors import UserError

RANKS = 3
CPU = torch.device("cpu")
UNEQUAL = TensorDataset(torch.arange(48), torch.tensor([0] * 40 + [1] * 8))


def list_weighted(kind: str) -> list[list[int]]:
    """The indices of weighted samples."""
    torch.manual_seed(3)
    sampler = WeightedRandomSampler(torch.rand(48), 33) if kind == "weighted" else kind
    return list_indices(BaseDataLoader(UNEQUAL, 6, sampler=sampler))


def get_refusal(make: Any) -> str:
    with pytest.raises(UserError) as caught:
        make()
    return str(caught.value)


def collect() -> dict[str, Any]:
    """What one rank gets. 7 samples in batches of 5 leave a batch of 2 for three ranks."""
    loader = BaseDataLoader(numbers(7), 5, shuffle=False)
    evaluation = BaseDataLoader(numbers(7), 5, shuffle=False)
    prepare_loader(evaluation, "valid_data_loader", CPU, evaluating=True)
    shards = DistributedSampler(numbers(), RANKS, 0)
    return {
        "weighted": list_weighted("weighted"),
        "class_balanced": list_weighted("class_balanced"),
        "training": list_indices(loader),
        "loss_weights": [loader.loss_weight for _ in loader],
        "evaluation": list_indices(evaluation),
        "no loader": prepare_loader(None, "valid_data_loader", CPU),
        "refused": [
            get_refusal(lambda: BaseDataLoader(numbers(), 2, sampler=shards)),
            get_refusal(lambda: prepare_loader(DataLoader(numbers()), "valid_data_loader", CPU)),
        ],
    }


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    """What each rank gets."""
    return in_ranks(RANKS, collect)


@pytest.mark.parametrize("kind", ["weighted", "class_balanced"])
def test_weighted_samples_are_divided_among_ranks(ranks: list[dict[str, Any]], kind: str) -> None:
    pieces = zip(*[found[kind] for found in ranks], strict=True)
    assert [list(itertools.chain(*batch)) for batch in pieces] == list_weighted(kind)


def test_a_rank_without_a_sample_trains_on_a_filler_of_weight_zero(
    ranks: list[dict[str, Any]],
) -> None:
    filler = [5]  # another rank's sample
    assert [found["training"] for found in ranks] == [[[0], filler], [[1, 2], [5]], [[3, 4], [6]]]
    weights = [found["loss_weights"] for found in ranks]
    assert weights[0] == pytest.approx([0.6, 0.0])
    assert weights[1] == weights[2] == pytest.approx([1.2, 1.5])


def test_an_evaluation_sees_every_sample_exactly_once(ranks: list[dict[str, Any]]) -> None:
    assert [found["evaluation"] for found in ranks] == [[[0]], [[1, 2], [5]], [[3, 4], [6]]]


def test_what_cannot_be_divided_is_refused(ranks: list[dict[str, Any]]) -> None:
    sampler, loader = ranks[1]["refused"]
    reason = "does not work with several processes: the loader divides the batches itself"
    assert sampler == f"a DistributedSampler {reason}"
    assert loader.startswith("valid_data_loader: a DataLoader cannot divide its batches")
    assert ranks[1]["no loader"] is None
