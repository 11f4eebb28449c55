"""BaseDataLoader: the same batches whatever the workers, and from any place on."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
)
from torchvision.datasets import FakeData

from base import BaseDataLoader, DatasetLoader
from base.base_data_loader import default_workers, with_transform
from base.data.sampler import EpochSampler
from utils.errors import UserError
from utils.util import inf_loop


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    yield
    torch.set_rng_state(state)


class Noisy(Dataset[Any]):
    """Augments with Python's, NumPy's and torch's random numbers."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> Any:
        return index, random.random(), float(np.random.rand()), torch.rand(2)


class Stream(IterableDataset[Any]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        return iter(range(self.n))


def numbers(n: int = 10) -> TensorDataset:
    return TensorDataset(torch.arange(n))


def seen(loader: Any) -> list[list[int]]:
    """The indices of each batch of one pass."""
    return [batch[0].tolist() for batch in loader]


def values(loader: Any) -> list[Any]:
    """Everything in one pass, as plain values."""
    return [[torch.as_tensor(part).tolist() for part in batch] for batch in loader]


def global_state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]


# -- the order ------------------------------------------------------------------------------------------------------


def test_the_batches_are_a_function_of_seed_and_epoch() -> None:
    one, other = BaseDataLoader(numbers(), 3), BaseDataLoader(numbers(), 3)
    passes = [seen(one) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    other.set_epoch(2)
    torch.rand(10)
    assert seen(other) == passes[2]


def test_the_seed_is_torchs_when_the_loader_is_made() -> None:
    first = seen(BaseDataLoader(numbers(), 3))
    torch.rand(7)  # drawing numbers changes nothing
    assert seen(BaseDataLoader(numbers(), 3)) == first
    torch.manual_seed(2)
    assert seen(BaseDataLoader(numbers(), 3)) != first


def test_without_shuffling_every_pass_is_in_order() -> None:
    loader = BaseDataLoader(numbers(5), 2, shuffle=False)
    assert seen(loader) == seen(loader) == [[0, 1], [2, 3], [4]]


def test_set_epoch_starts_that_epoch_from_its_first_batch() -> None:
    loader = BaseDataLoader(numbers(), 3)
    next(iter(loader))
    loader.set_epoch(0)
    whole = seen(loader)
    assert sorted(itertools.chain(*whole)) == list(range(10))
    loader.set_epoch(0)
    assert seen(loader) == whole


# -- random numbers -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_workers() -> dict[int, list[Any]]:
    """Two passes with every number of workers."""
    found = {}
    for workers in (0, 2):
        torch.manual_seed(1)
        loader = BaseDataLoader(Noisy(), 4, num_workers=workers)
        found[workers] = [values(loader), values(loader)]
    return found


def test_workers_change_no_bit_of_any_batch(with_workers: dict[int, list[Any]]) -> None:
    assert with_workers[0] == with_workers[2]


def test_augmentation_differs_between_samples_batches_and_epochs(
    with_workers: dict[int, list[Any]],
) -> None:
    for part in (1, 2, 3):  # Python's, NumPy's, torch's
        drawn = [
            str(value) for epoch in with_workers[2] for batch in epoch for value in batch[part]
        ]
        assert len(set(drawn)) == 44


@pytest.mark.parametrize("workers", [0, 1])
def test_iterating_leaves_the_global_random_numbers(workers: int) -> None:
    loader = BaseDataLoader(Noisy(), 4, num_workers=workers)
    before = global_state()
    values(loader)
    assert global_state() == before


def test_what_the_loop_draws_between_batches_does_not_change_them() -> None:
    quiet = values(BaseDataLoader(Noisy(), 4))
    loud = []
    for batch in BaseDataLoader(Noisy(), 4):
        random.random(), np.random.rand(), torch.rand(5)
        loud.append([torch.as_tensor(part).tolist() for part in batch])
    assert loud == quiet


# -- going on in the middle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("done", [0, 2, 5])
def test_a_loader_goes_on_where_another_stopped(workers: int, done: int) -> None:
    loader = BaseDataLoader(Noisy(), 4, num_workers=workers)
    values(loader)
    whole = values(loader)
    follow = values(loader)

    stopped = BaseDataLoader(Noisy(), 4, num_workers=workers)
    values(stopped)
    batches = iter(stopped)
    for _ in range(done):
        next(batches)
    state = stopped.state_dict()

    torch.manual_seed(99)  # the state decides, not the new process's seed
    resumed = BaseDataLoader(Noisy(), 4)
    resumed.load_state_dict(state)
    assert values(resumed) == whole[done:]
    assert values(resumed) == follow


def test_a_state_counts_what_the_loop_took_and_not_what_workers_fetched_ahead() -> None:
    loader = BaseDataLoader(numbers(), 1, num_workers=1, prefetch_factor=4)
    batches = iter(loader)
    next(batches), next(batches)
    assert loader.state_dict() == {"seed": 1, "passes": 1, "consumed": 2}


def test_a_state_holds_plain_integers_only() -> None:
    loader = BaseDataLoader(numbers(), 3)
    seen(loader)
    assert {type(value) for value in loader.state_dict().values()} == {int}


def test_the_state_of_an_unused_loader_begins_at_the_first_batch() -> None:
    state = BaseDataLoader(numbers(), 3).state_dict()
    expected = seen(BaseDataLoader(numbers(), 3))
    torch.manual_seed(2)
    other = BaseDataLoader(numbers(), 3)
    other.load_state_dict(state)
    assert seen(other) == expected


def test_going_on_reads_none_of_the_samples_before() -> None:
    read: list[int] = []

    class Watched(Noisy):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return index

    loader = BaseDataLoader(Watched(), 2, shuffle=False)
    loader.load_state_dict({"seed": 1, "passes": 1, "consumed": 9})
    list(loader)
    assert read == [18, 19, 20, 21]


def test_an_endless_loop_over_a_loader_goes_on_too() -> None:
    whole = inf_loop(BaseDataLoader(numbers(), 4))
    expected = [next(whole)[0].tolist() for _ in range(10)]

    loader = BaseDataLoader(numbers(), 4)
    first = inf_loop(loader)
    taken = [next(first)[0].tolist() for _ in range(6)]  # a round of three, another, ended
    resumed = BaseDataLoader(numbers(), 4)
    resumed.load_state_dict(loader.state_dict())
    rest = inf_loop(resumed)
    assert taken + [next(rest)[0].tolist() for _ in range(4)] == expected


def test_a_stream_goes_on_by_skipping() -> None:
    loader = BaseDataLoader(Stream(10), 3)
    loader.load_state_dict({"seed": 1, "passes": 1, "consumed": 2})
    assert [batch.tolist() for batch in loader] == [[6, 7, 8], [9]]
    assert next(iter(loader)).tolist() == [0, 1, 2]


# -- samplers, streams, shapes --------------------------------------------------------------------------------------


def test_a_sampler_chooses_the_samples() -> None:
    weights = [0.0] * 5 + [1.0] * 5
    loader = BaseDataLoader(numbers(), 4, sampler=WeightedRandomSampler(weights, 20))
    first, second = seen(loader), seen(loader)
    assert {index for batch in first for index in batch} == {5, 6, 7, 8, 9}
    assert first != second
    loader.set_epoch(0)
    assert seen(loader) == first
    assert (loader.n_samples, len(loader)) == (20, 5)


def test_a_batch_sampler_chooses_whole_batches() -> None:
    batch_sampler = BatchSampler(EpochSampler(range(5), False), 2, drop_last=True)
    loader = BaseDataLoader(numbers(5), None, batch_sampler=batch_sampler)
    assert seen(loader) == [[0, 1], [2, 3]]
    assert (loader.n_samples, len(loader)) == (5, 2)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_drop_last(drop_last: bool, sizes: list[int]) -> None:
    loader = BaseDataLoader(numbers(), 4, drop_last=drop_last)
    assert [len(batch) for batch in seen(loader)] == sizes
    assert len(loader) == len(sizes)


def test_a_stream_is_read_in_its_own_order() -> None:
    loader = BaseDataLoader(Stream(7), 3, drop_last=True)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5]]
    assert loader.n_samples == 0


def test_a_stream_may_make_its_own_batches() -> None:
    assert list(BaseDataLoader(Stream(3), None, collate_fn=None)) == [0, 1, 2]


class Pair(NamedTuple):
    x: torch.Tensor
    y: int


@pytest.mark.parametrize(
    ("sample", "batch"),
    [
        ({"image": torch.tensor(1), "meta": {"id": 3}}, {"image": [1, 1], "meta": {"id": [3, 3]}}),
        ((torch.tensor(1), [2, (3, 4)]), [[1, 1], [[2, 2], [[3, 3], [4, 4]]]]),
        (torch.tensor(1), [1, 1]),
    ],
    ids=["nested dict", "nested tuple", "tensor alone"],
)
def test_batches_have_the_shape_of_the_samples(sample: Any, batch: Any) -> None:
    class Two(Dataset[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return sample

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value]

    assert [plain(found) for found in BaseDataLoader(Two(), 2)] == [batch]


def test_named_tuples_stay_named_tuples() -> None:
    loader = BaseDataLoader(
        [Pair(torch.tensor(index), index) for index in range(2)], 2, shuffle=False
    )
    (batch,) = loader
    assert isinstance(batch, Pair)
    assert batch.x.tolist() == [0, 1]


def test_a_collate_function_makes_the_batches() -> None:
    def longest(samples: list[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)

    sequences = [torch.ones(n) for n in (1, 3, 2)]
    (batch,) = BaseDataLoader(sequences, 3, shuffle=False, collate_fn=longest)
    assert batch.sum(1).tolist() == [1, 3, 2]


def test_other_arguments_go_to_torchs_loader() -> None:
    loader = BaseDataLoader(
        numbers(), 4, True, 0.0, 1, timeout=7, prefetch_factor=3, persistent_workers=False
    )
    assert (loader.timeout, loader.prefetch_factor, loader.persistent_workers) == (7, 3, False)
    assert BaseDataLoader(numbers(), 4, num_workers=1).persistent_workers is True


def test_a_general_loader_takes_any_dataset() -> None:
    loader = DatasetLoader(numbers(100))
    assert isinstance(loader, BaseDataLoader)
    assert [len(batch) for batch in seen(loader)] == [32, 32, 32, 4]


def test_pytorch_templates_attributes_are_there() -> None:
    dataset = numbers()
    loader = BaseDataLoader(dataset, 4, True, 0.3, 0)
    assert (loader.batch_size, loader.n_samples, loader.validation_split, loader.shuffle) == (
        4,
        7,
        0.3,
        True,
    )
    assert loader.dataset is dataset
    assert len(loader.sampler) == 7  # type: ignore[arg-type]
    assert loader.valid_sampler is not None
    assert len(loader.valid_sampler) == 3
    assert loader.init_kwargs["batch_size"] == 4


# -- the split ------------------------------------------------------------------------------------------------------


def test_the_split_is_pytorch_templates() -> None:
    loader = BaseDataLoader(numbers(20), 20, validation_split=0.25)
    expected = np.arange(20)
    np.random.RandomState(0).shuffle(expected)
    valid = loader.split_validation()
    assert valid is not None
    assert list(itertools.chain(*seen(valid))) == expected[:5].tolist()
    assert sorted(itertools.chain(*seen(loader))) == sorted(expected[5:].tolist())
    assert (loader.n_samples, valid.n_samples) == (15, 5)


def test_no_split_gives_no_loader() -> None:
    assert BaseDataLoader(numbers(), 4).split_validation() is None
    assert BaseDataLoader(numbers(), 4).valid_sampler is None


def test_the_validation_part_is_in_the_same_order_every_time_and_complete() -> None:
    loader = BaseDataLoader(numbers(), 4, validation_split=5, drop_last=True)
    valid = loader.split_validation()
    assert valid is not None
    assert [len(batch) for batch in seen(valid)] == [4, 1]
    assert seen(valid) == seen(valid)


def test_the_split_has_a_seed_of_its_own() -> None:
    parts = []
    for torch_seed, split_seed in ((1, 0), (2, 0), (1, 3)):
        torch.manual_seed(torch_seed)
        valid = BaseDataLoader(
            numbers(20), 4, validation_split=5, split_seed=split_seed
        ).split_validation()
        parts.append(seen(valid))
    assert parts[0] == parts[1] != parts[2]


def test_a_stratified_split_is_made_by_choice() -> None:
    dataset = TensorDataset(torch.arange(40), torch.arange(40) % 4)
    valid = BaseDataLoader(dataset, 8, validation_split=8, stratify=True).split_validation()
    assert valid is not None
    (batch,) = valid
    assert torch.bincount(batch[1]).tolist() == [2, 2, 2, 2]


class Images(FakeData):
    """As torchvision's datasets: a PIL image under `transform`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(size=8, image_size=(1, 4, 4), num_classes=2, **kwargs)


def train_transform(_: Any) -> torch.Tensor:
    return torch.ones(1)


def eval_transform(_: Any) -> torch.Tensor:
    return torch.zeros(1)


@pytest.mark.parametrize(
    "transform", [train_transform, None], ids=["with", "without a training transform"]
)
def test_validation_gets_the_evaluation_transform(transform: Any) -> None:
    def collate(samples: list[Any]) -> list[Any]:
        return [value for value, _ in samples]

    dataset = Images(transform=transform)
    loader = BaseDataLoader(dataset, 4, True, 4, collate_fn=collate, eval_transform=eval_transform)
    valid = loader.split_validation()
    assert valid is not None
    assert [value.item() for batch in valid for value in batch] == [0.0] * 4
    if transform is not None:
        assert [value.item() for batch in loader for value in batch] == [1.0] * 4
    assert dataset.transform is transform


def test_torchvisions_joint_transform_follows_the_evaluation_transform() -> None:
    dataset = Images(transform=train_transform, target_transform=lambda target: -target)
    changed = with_transform(dataset, eval_transform)
    image, target = changed.transforms("image", 3)
    assert (image.item(), target) == (0.0, -3)
    image, _ = dataset.transforms("image", 3)
    assert image.item() == 1.0


def test_without_an_evaluation_transform_both_parts_share_the_dataset() -> None:
    dataset = Images(transform=train_transform)
    valid = BaseDataLoader(dataset, 4, validation_split=4).split_validation()
    assert valid is not None
    assert valid.dataset is dataset


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "kwargs", "message"),
    [
        (numbers(), {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (numbers(), {"batch_size": -3}, "batch_size=-3 must be at least 1"),
        (
            numbers(),
            {"batch_size": None},
            "batch_size: null needs a batch_sampler, or an iterable dataset",
        ),
        (numbers(0), {}, "the dataset TensorDataset is empty"),
        ([], {}, "the dataset list is empty"),
        (
            numbers(),
            {"batch_size": 11, "drop_last": True},
            "batch_size=11 with drop_last leaves no batch of 10 samples",
        ),
        (
            numbers(),
            {"batch_size": 9, "drop_last": True, "validation_split": 2},
            "batch_size=9 with drop_last leaves no batch of 8 samples",
        ),
        (
            numbers(),
            {"validation_split": 10},
            "validation_split=10 of 10 samples leaves a part empty",
        ),
        (
            numbers(),
            {"validation_split": 0.01},
            "validation_split=0.01 of 10 samples leaves a part empty",
        ),
        (
            numbers(),
            {"validation_split": 2, "sampler": EpochSampler(range(3), False)},
            "validation_split and a sampler cannot both choose the samples",
        ),
        (
            numbers(),
            {"validation_split": 2, "batch_size": None, "batch_sampler": [[1]]},
            "validation_split and a sampler cannot both choose the samples",
        ),
        (
            Stream(5),
            {"validation_split": 2},
            "an iterable dataset cannot be split; give a valid_data_loader",
        ),
        (
            list(range(5)),
            {"validation_split": 2, "stratify": True},
            "stratify: list has no `targets` or `labels`",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(dataset: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        BaseDataLoader(dataset, **({"batch_size": 4} | kwargs))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_evaluation_transform_for_a_dataset_without_transforms_is_a_mistake() -> None:
    loader = BaseDataLoader(numbers(), 4, validation_split=2, eval_transform=eval_transform)
    with pytest.raises(
        UserError, match="eval_transform: TensorDataset has no `transform` attribute to replace"
    ):
        loader.split_validation()


def noisy_collate(samples: list[Any]) -> torch.Tensor:
    return torch.stack(
        [torch.as_tensor(sample, dtype=torch.float32) for sample in samples]
    ) + torch.rand(1)


def test_random_numbers_of_the_collate_function_do_not_depend_on_workers() -> None:
    data = [torch.zeros(1) for _ in range(12)]
    batches = []
    for workers in (0, 2):
        torch.manual_seed(3)
        loader = BaseDataLoader(data, 4, num_workers=workers, collate_fn=noisy_collate)
        list(loader)  # the second pass too: workers live on
        batches.append([batch.tolist() for batch in loader])
    assert batches[0] == batches[1]


def test_who_says_nothing_of_workers_gets_one_for_each_core_but_none_for_what_is_in_memory(
    monkeypatch,
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "fork")
    in_memory, drawn = TensorDataset(torch.arange(8)), FakeData(8)
    assert [default_workers(data) for data in (in_memory, drawn)] == [0, 3]
    assert default_workers(drawn, cache=True) == 0
    assert DatasetLoader(drawn, 4)._engine.num_workers == 3
    assert DatasetLoader(drawn, 4, num_workers=1)._engine.num_workers == 1
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "spawn")
    assert default_workers(drawn) == 0


@pytest.mark.parametrize(("options", "pinned"), [({}, True), ({"pin_memory": False}, False)])
def test_memory_is_pinned_for_an_accelerator_that_has_use_for_it(
    options: dict[str, Any], pinned: bool
) -> None:
    loaders = [
        DatasetLoader(FakeData(8, transform=np.asarray), 4, num_workers=0, **options)
        for _ in range(2)
    ]
    loaders[1].device = torch.device("cuda")
    for loader, wanted in zip(loaders, (False, pinned), strict=True):
        iter(loader).__next__()  # torch pins nothing where there is no accelerator
        assert loader._engine.pin_memory is wanted


class Niceness(Dataset[int]):
    """How far the process that reads gives way to others."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)


def test_workers_give_way_to_the_training() -> None:
    here = Niceness()[0]
    (batch,) = DatasetLoader(Niceness(), 2, num_workers=1)
    assert batch.tolist() == [min(19, here + 10)] * 2
    assert Niceness()[0] == here


# -- the same batches of other data ---------------------------------------------------------------


class Collated(Dataset[Any]):
    """Gives whole batches: the indices themselves."""

    def __len__(self) -> int:
        return 10

    def __getitems__(self, indices: list[int]) -> Any:
        return [torch.tensor(list(indices))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop_last": True},
        {"validation_split": 3},
        {"sampler": WeightedRandomSampler([1.0] * 10, 7)},
        {"batch_transform": torch.nn.Identity(), "num_workers": 1},
    ],
)
def test_with_dataset_keeps_the_indices_of_every_batch(options: dict[str, Any]) -> None:
    loader = BaseDataLoader(numbers(), 4, **options)
    other = loader.with_dataset(Collated())
    assert [seen(other), seen(other)] == [seen(loader), seen(loader)]
    other.load_state_dict(loader.state_dict())
    assert seen(other) == seen(loader)


def test_sample_indices_are_those_of_the_split() -> None:
    loader = BaseDataLoader(numbers(), 4, validation_split=3)
    validation = loader.split_validation()
    assert validation is not None
    indices = [*loader.sample_indices(), *validation.sample_indices()]
    assert sorted(indices) == list(range(10))
    assert {index for batch in seen(loader) for index in batch} == set(loader.sample_indices())
    assert all(type(index) is int for index in indices)
    assert BaseDataLoader(numbers(), 4, sampler=[1, 2]).sample_indices() == list(range(10))


def test_only_a_loader_with_indices_is_map_style() -> None:
    assert BaseDataLoader(numbers(), 4).is_map_style
    assert not BaseDataLoader(Stream(4), 4).is_map_style
