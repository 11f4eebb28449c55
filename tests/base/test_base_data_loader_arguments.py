"""BaseDataLoader's arguments: samplers, streams, collating, workers, and the template's names."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, TensorDataset, WeightedRandomSampler
from torchvision.datasets import FakeData

from base import BaseDataLoader
from base.data.epoch_sampler import EpochSampler
from tests.base.data.datasets import Stream, list_indices, numbers
from utils.errors import UserError

# -- samplers and streams -------------------------------------------------------------------------


def test_a_sampler_chooses_the_samples() -> None:
    weights = [0.0] * 5 + [1.0] * 5
    loader = BaseDataLoader(numbers(), 4, sampler=WeightedRandomSampler(weights, 20))
    first, second = list_indices(loader), list_indices(loader)
    assert {index for batch in first for index in batch} == {5, 6, 7, 8, 9}
    assert first != second
    loader.set_epoch(0)
    assert list_indices(loader) == first
    assert (loader.n_samples, len(loader)) == (20, 5)


def test_a_batch_sampler_chooses_the_batches() -> None:
    batch_sampler = BatchSampler(EpochSampler(range(5), False), 2, drop_last=True)
    loader = BaseDataLoader(numbers(5), None, batch_sampler=batch_sampler)
    assert list_indices(loader) == [[0, 1], [2, 3]]
    assert (loader.n_samples, len(loader)) == (5, 2)


def test_a_class_balanced_sampler_draws_every_class_equally_often_and_logs_the_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = TensorDataset(torch.arange(1000), torch.tensor([0] * 900 + [1] * 100))
    with caplog.at_level("INFO"):
        loader = BaseDataLoader(data, 100, sampler="class_balanced", validation_split=0.2)
    assert "samples: 0: 7" in caplog.text
    held_out = set(loader.valid_sampler.indices.tolist())
    drawn = [torch.cat([batch[0] for batch in loader]) for _ in range(2)]
    assert [len(indices) for indices in drawn] == [800, 800]
    assert not torch.equal(*drawn)
    assert not held_out & set(drawn[0].tolist())
    assert 0.4 < (drawn[0] >= 900).float().mean() < 0.6
    loader.set_epoch(0)
    assert torch.equal(torch.cat([batch[0] for batch in loader]), drawn[0])
    assert len(torch.cat([batch[0] for batch in loader.split_validation()])) == 200


@pytest.mark.parametrize(
    ("data", "sampler", "message"),
    [
        ([1, 2], "class_balanced", "sampler: list has no `targets`"),
        (
            TensorDataset(torch.ones(4), torch.ones(4, 2)),
            "class_balanced",
            "class_balanced needs one class per sample, not labels of shape",
        ),
        (TensorDataset(torch.ones(4), torch.ones(4)), "balanced", "must be class_balanced"),
    ],
)
def test_a_class_balanced_sampler_needs_one_class_for_each_sample(
    data: Any, sampler: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        BaseDataLoader(data, 2, sampler=sampler)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_drop_last_leaves_out_the_short_batch(drop_last: bool, sizes: list[int]) -> None:
    loader = BaseDataLoader(numbers(), 4, drop_last=drop_last)
    assert [len(batch) for batch in list_indices(loader)] == sizes
    assert len(loader) == len(sizes)


def test_a_stream_is_read_in_its_order() -> None:
    loader = BaseDataLoader(Stream(7), 3, drop_last=True)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5]]
    assert loader.n_samples == 0


def test_a_stream_may_give_batches() -> None:
    assert list(BaseDataLoader(Stream(3), None, collate_fn=None)) == [0, 1, 2]


# -- the form of the batches ----------------------------------------------------------------------


class Pair(NamedTuple):
    x: torch.Tensor
    y: int


class Twice(Dataset[Any]):
    """The same sample twice."""

    def __init__(self, sample: Any) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.sample


def to_lists(value: Any) -> Any:
    """A batch with lists in place of tensors and tuples."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: to_lists(item) for key, item in value.items()}
    return [to_lists(item) for item in value]


@pytest.mark.parametrize(
    ("sample", "batch"),
    [
        ({"image": torch.tensor(1), "meta": {"id": 3}}, {"image": [1, 1], "meta": {"id": [3, 3]}}),
        ((torch.tensor(1), [2, (3, 4)]), [[1, 1], [[2, 2], [[3, 3], [4, 4]]]]),
        (torch.tensor(1), [1, 1]),
    ],
    ids=["nested dict", "nested tuple", "single tensor"],
)
def test_batches_have_the_form_of_the_samples(sample: Any, batch: Any) -> None:
    assert [to_lists(found) for found in BaseDataLoader(Twice(sample), 2)] == [batch]


def test_named_tuples_stay_named_tuples() -> None:
    samples = [Pair(torch.tensor(index), index) for index in range(2)]
    (batch,) = BaseDataLoader(samples, 2, shuffle=False)
    assert isinstance(batch, Pair)
    assert batch.x.tolist() == [0, 1]


def test_a_collate_function_makes_the_batches() -> None:
    def pad(samples: list[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)

    sequences = [torch.ones(n) for n in (1, 3, 2)]
    (batch,) = BaseDataLoader(sequences, 3, shuffle=False, collate_fn=pad)
    assert batch.sum(1).tolist() == [1, 3, 2]


def noisy_collate(samples: list[Any]) -> torch.Tensor:
    tensors = [torch.as_tensor(sample, dtype=torch.float32) for sample in samples]
    return torch.stack(tensors) + torch.rand(1)


def test_random_numbers_of_the_collate_function_do_not_depend_on_workers() -> None:
    data = [torch.zeros(1) for _ in range(12)]
    batches = []
    for num_workers in (0, 2):
        torch.manual_seed(3)
        loader = BaseDataLoader(data, 4, num_workers=num_workers, collate_fn=noisy_collate)
        list(loader)  # the second pass too: workers live on
        batches.append([batch.tolist() for batch in loader])
    assert batches[0] == batches[1]


# -- torch's arguments and the template's attributes ----------------------------------------------


def test_other_arguments_go_to_torchs_loader() -> None:
    loader = BaseDataLoader(
        numbers(), 4, True, 0.0, 1, timeout=7, prefetch_factor=3, persistent_workers=False
    )
    assert (loader.timeout, loader.prefetch_factor, loader.persistent_workers) == (7, 3, False)
    assert BaseDataLoader(numbers(), 4, num_workers=1).persistent_workers is True


def is_pinning(loader: BaseDataLoader) -> bool:
    """Whether torch was asked for pinned memory; without an accelerator it warns and pins none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images, _ = next(iter(loader))
    return images.is_pinned() or any("'pin_memory'" in str(w.message) for w in caught)


@pytest.mark.parametrize(("options", "expected"), [({}, True), ({"pin_memory": False}, False)])
def test_memory_is_pinned_for_an_accelerator_that_benefits(
    options: dict[str, Any], expected: bool
) -> None:
    loader = BaseDataLoader(FakeData(8, transform=np.asarray), 4, **options)
    assert not is_pinning(loader)
    loader.device = torch.device("cuda")
    assert is_pinning(loader) is expected


def test_pytorch_templates_attributes_are_there() -> None:
    dataset = numbers()
    loader = BaseDataLoader(dataset, 4, True, 0.3, 0)
    found = (loader.batch_size, loader.n_samples, loader.validation_split, loader.shuffle)
    assert found == (4, 7, 0.3, True)
    assert loader.dataset is dataset
    assert len(loader.sampler) == 7
    assert loader.valid_sampler is not None
    assert len(loader.valid_sampler) == 3
    assert loader.init_kwargs["batch_size"] == 4
