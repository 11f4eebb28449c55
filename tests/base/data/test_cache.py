"""A dataset kept in memory gives the same batches as one that is read sample by sample."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import FakeData
from torchvision.transforms import v2

from base.base_data_loader import BaseDataLoader
from base.data import cache
from base.data.split import get_labels
from tests.base.data.datasets import SCALE, Pictures, Stream, are_equal, batches
from tests.ranks import in_ranks
from utils import distributed
from utils.errors import UserError

AUGMENT = v2.Compose(
    [v2.RandomCrop(8, padding=2, pad_if_needed=True), v2.RandomHorizontalFlip(), *SCALE]
)


class Numbers(Dataset):
    """Three samples that a function makes."""

    def __init__(self, sample):
        self.sample = sample

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.sample(index)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transform", [v2.Compose(SCALE), AUGMENT], ids=["plain", "augmented"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_cached_data_gives_the_same_batches(channels, transform, num_workers):
    torch.manual_seed(3)
    uncached = BaseDataLoader(Pictures(transform, channels), 6)
    pictures = Pictures(transform, channels)
    torch.manual_seed(3)
    loader = BaseDataLoader(pictures, 6, cache=True, num_workers=num_workers)
    reads = pictures.reads
    for _ in range(2):
        assert are_equal(batches(uncached), batches(loader))
    assert pictures.reads == reads


def test_without_a_transform_pictures_come_as_bytes_channels_first():
    (images, target), *_ = BaseDataLoader(Pictures(), 20, shuffle=False, cache=True)
    assert (images.shape, images.dtype) == ((20, 3, 8, 6), torch.uint8)
    assert torch.equal(images[4], v2.functional.pil_to_tensor(Pictures()[4][0]))
    assert target.tolist() == [0, 1] * 10


class Described(Pictures):
    """Describes its samples, as torchvision's ImageFolder does."""

    def __init__(self):
        super().__init__()
        self.samples = [(f"{index}.png", index % 2) for index in range(20)]
        self.labels = [label for _, label in self.samples]


def test_the_description_of_the_dataset_stays():
    dataset = Described()
    cached = cache.cache_dataset(dataset)
    assert cached.dataset is dataset
    assert cached.classes == ("a", "b")
    assert cached.samples is dataset.samples
    assert get_labels(cached) is dataset.labels
    assert cache.cache_dataset(cached) is cached


def test_a_dataset_without_a_description_has_labels_in_its_samples():
    cached = cache.cache_dataset(Numbers(lambda i: (float(i), 7 + i)))
    assert (cached.classes, cached.samples, cached.targets) == (None, None, None)
    assert get_labels(cached).tolist() == [7, 8, 9]


def test_a_cached_subset_has_the_classes_of_its_dataset():
    cached = cache.cache_dataset(Subset(Described(), [3, 4, 6]))
    assert cached.classes == ("a", "b")
    assert get_labels(cached).tolist() == [1, 0, 0]


def test_the_validation_split_of_a_cached_dataset_has_the_evaluation_transform():
    data = {"cache": True, "eval_transform": v2.Compose(SCALE), "validation_split": 5}
    loader = BaseDataLoader(Pictures(), 5, **data)
    assert next(iter(loader))[0].dtype == torch.uint8
    assert next(iter(loader.split_validation()))[0].dtype == torch.float32


def test_an_attribute_that_nothing_would_read_again_is_refused():
    loader = BaseDataLoader(Pictures(), 5, cache=True)
    message = "^data_loader.args.cache: .* setting its `epoch` has no effect; set it in the constr"
    with pytest.raises(UserError, match=message):
        loader.dataset.epoch = 3


def test_a_cached_dataset_takes_another_transform_between_two_passes():
    loader = BaseDataLoader(Pictures(), 5, cache=True)
    assert next(iter(loader))[0].dtype == torch.uint8
    loader.dataset.transform = v2.Compose(SCALE)
    assert next(iter(loader))[0].dtype == torch.float32
    loader.dataset.transform = None
    assert next(iter(loader))[0].dtype == torch.uint8


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Pictures(sizes=(8, 9)), r"^cache: sample 1 has uint8 \(3, 9, 6\) where the first one has"),
        (Numbers(lambda i: {"x": i}), r"^cache: a sample is a dict"),
        (Numbers(lambda i: ("word", i)), r"^cache: a sample holds a str"),
        (Stream(), r"supports neither cache nor"),
    ],
)
def test_unsuitable_samples_are_refused(dataset, message):
    with pytest.raises(UserError, match=message):
        BaseDataLoader(dataset, 2, cache=True)


def test_data_that_would_fill_the_memory_is_refused_before_it_is_read():
    class Huge(Pictures):
        def __len__(self):
            return 10**13

    pictures = Huge()
    with pytest.raises(UserError, match=r"^cache: the 10,000,000,000,000 samples take .* GB are"):
        BaseDataLoader(pictures, 5, cache=True)
    assert pictures.reads == 1  # for the shape


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("in_turn", [True, False], ids=["in turn", "at once"])
def test_the_ranks_of_a_machine_read_once_and_use_the_same_memory(ranks, in_turn):
    """``in_turn`` as a run makes its loaders, because the first rank may download."""

    def read():
        pictures = Pictures()
        with distributed.main_process_first() if in_turn else contextlib.nullcontext():
            color = cache.cache_dataset(pictures)
            gray = cache.cache_dataset(Pictures(channels=1))
        content = [bytes(tensor.numpy()) for tensor in (*color.tensors, *gray.tensors)]
        distributed.barrier()
        if distributed.rank() == 0:
            color.tensors[0][7] = 255
        distributed.barrier()
        return content, pictures.reads, color.tensors[0][7].min().item()

    datasets = [cache.cache_dataset(Pictures()), cache.cache_dataset(Pictures(channels=1))]
    expected = [bytes(tensor.numpy()) for dataset in datasets for tensor in dataset.tensors]
    for rank, (content, reads, changed) in enumerate(in_ranks(ranks, read)):
        assert content == expected
        assert reads == (1 if rank else 43)  # every rank reads the first sample for its shape
        assert changed == 255


def test_without_files_in_memory_each_rank_reads(monkeypatch):
    monkeypatch.delattr(cache.os, "memfd_create")

    def read():
        pictures = Pictures()
        return bytes(cache.cache_dataset(pictures).tensors[0].numpy()), pictures.reads

    assert len(set(in_ranks(2, read))) == 1
    assert read()[1] == 43  # all are read again, to see that they stay the same


# -- another transform ----------------------------------------------------------------------------


def test_a_copy_with_another_transform_leaves_the_dataset():
    dataset = Pictures(v2.Compose(SCALE))
    changed = cache.with_transform(dataset, None)
    assert isinstance(changed[0][0], Image.Image)
    assert isinstance(dataset[0][0], torch.Tensor)


def test_torchvisions_joint_transform_follows_the_new_transform():
    dataset = FakeData(2, transform=lambda _: 1, target_transform=lambda target: -target)
    changed = cache.with_transform(dataset, lambda _: 0)
    assert changed.transforms("image", 3) == (0, -3)
    assert dataset.transforms("image", 3) == (1, -3)


def test_a_dataset_without_a_transform_cannot_get_another_one():
    with pytest.raises(UserError, match=r"^eval_transform: Numbers has no `transform` attribute"):
        cache.with_transform(Numbers(lambda i: i), None)


# -- samples that are not always the same ----------------------------------------------------------


class Augmented(Numbers):
    """Random outside of an attribute ``transform``."""

    def __init__(self, kind):
        super().__init__(lambda index: (index, 0))
        self.kind, self.rng, self.calls = kind, np.random.default_rng(1), 0
        self.target_transform = lambda target: target + random.random()

    def __getitem__(self, index):
        self.calls += 1
        drawn = {
            "torch": lambda: torch.rand(()).item() < 0.5,
            "rare": lambda: index == 1 and np.random.rand() < 0.1,
            "own generator": lambda: self.rng.random(),
            "entropy": lambda: np.random.default_rng().random(),
            "counter": lambda: self.calls,
            "target": lambda: self.target_transform(0),
            "seeded": lambda: torch.rand((), generator=torch.manual_seed(index)),
            "local": lambda: random.Random(index).random(),
        }
        return index, float(drawn[self.kind]())


class EpochLevel(Numbers):
    """Changes with the epoch."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        return index, self.epoch


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        *[
            (Augmented(kind), "Augmented draws random numbers")
            for kind in ("torch", "rare", "own generator", "target")
        ],
        (Augmented("entropy"), "Augmented does not give the same sample each time"),
        (Augmented("counter"), "Augmented does not give the same sample each time"),
        (Subset(Pictures(AUGMENT), range(9)), "Subset draws random numbers"),
        (EpochLevel(lambda i: i), "EpochLevel.set_epoch changes the samples"),
    ],
)
def test_random_samples_are_refused_because_a_cache_would_freeze_them(dataset, message):
    with pytest.raises(UserError, match=f"^cache: {message}"):
        BaseDataLoader(dataset, 2, cache=True)


@pytest.mark.parametrize("kind", ["local", "seeded"])
def test_random_numbers_that_depend_on_the_index_only_can_be_cached(kind):
    state = torch.get_rng_state()
    assert len(BaseDataLoader(Augmented(kind), 2, cache=True)) == 2
    torch.set_rng_state(state)
