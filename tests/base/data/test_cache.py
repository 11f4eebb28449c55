"""Data in memory and batches transformed at once: the same batches as one sample at a time."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.transforms import v2

from base.base_data_loader import BaseDataLoader
from base.data import cache
from base.data.batch_transforms import CropEach, CutMixEach, CutoutEach, FlipEach, MixUpEach
from tests.ranks import in_ranks
from utils import distributed as parallel
from utils.errors import UserError


class Pictures(Dataset):
    """Stored pictures, which count how often they are read."""

    classes = ("a", "b")

    def __init__(self, transform=None, channels=3, sizes=(8,)):
        self.transform, self.channels, self.sizes, self.reads = transform, channels, sizes, 0

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.reads += 1
        size = self.sizes[index % len(self.sizes)]
        shape = (size, 6, 3) if self.channels == 3 else (size, 6)
        picture = Image.fromarray(
            np.random.RandomState(index).randint(0, 256, shape, dtype=np.uint8)
        )
        return (self.transform(picture) if self.transform else picture), index % 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class Numbers(Dataset):
    def __init__(self, sample):
        self.sample = sample

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.sample(index)


SCALE = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
AUGMENT = v2.Compose(
    [v2.RandomCrop(8, padding=2, pad_if_needed=True), v2.RandomHorizontalFlip(), *SCALE]
)


def batches(loader):
    return [[part.clone() for part in batch] for batch in loader]


def same(first, second):
    pairs = list(zip(first, second, strict=True))
    return all(
        torch.equal(a, b) and a.dtype == b.dtype
        for x, y in pairs
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transform", [v2.Compose(SCALE), AUGMENT], ids=["plain", "augmented"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_cached_data_gives_the_same_batches(channels, transform, num_workers):
    torch.manual_seed(3)
    plain = BaseDataLoader(Pictures(transform, channels), 6)
    kept = Pictures(transform, channels)
    torch.manual_seed(3)
    loader = BaseDataLoader(kept, 6, cache=True, num_workers=num_workers)
    read = kept.reads
    for _ in range(2):
        assert same(batches(plain), batches(loader))
    assert kept.reads == read
    assert loader.dataset.classes == ("a", "b")


def test_without_a_transform_pictures_come_as_bytes_channels_first():
    (images, target), *_ = BaseDataLoader(Pictures(), 20, shuffle=False, cache=True)
    assert (images.shape, images.dtype) == ((20, 3, 8, 6), torch.uint8)
    assert torch.equal(images[4], v2.functional.pil_to_tensor(Pictures()[4][0]))
    assert target.tolist() == [0, 1] * 10


def test_a_batch_transform_gives_what_the_samples_transform_gives():
    torch.manual_seed(3)
    one_by_one = BaseDataLoader(Pictures(v2.Compose([*SCALE, v2.Normalize([0.5], [0.2])])), 6)
    torch.manual_seed(3)
    at_once = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.2])])
    assert same(
        batches(one_by_one),
        batches(BaseDataLoader(Pictures(), 6, cache=True, batch_transform=at_once)),
    )


def test_a_tensor_dataset_is_read_by_the_batch_and_gives_the_same(monkeypatch):
    data = TensorDataset(torch.randn(50, 3), torch.arange(50), torch.rand(50))
    torch.manual_seed(3)
    fast = batches(BaseDataLoader(data, 8, validation_split=10))
    monkeypatch.setattr("base.data.sampler.is_tensors", lambda _: False)
    torch.manual_seed(3)
    assert same(fast, batches(BaseDataLoader(data, 8, validation_split=10)))


def test_random_batch_transforms_do_not_depend_on_workers_and_go_on_anywhere():
    chosen = v2.Compose(
        [FlipEach(), CropEach(2), v2.ToDtype(torch.float32, scale=True), MixUpEach(2)]
    )
    loaders = []
    for num_workers in (0, 2):
        torch.manual_seed(3)
        loaders.append(
            BaseDataLoader(
                Pictures(), 6, num_workers=num_workers, cache=True, batch_transform=chosen
            )
        )
    whole = batches(loaders[0])
    torch.rand(5)
    assert same(whole, batches(loaders[1]))
    assert not same(whole, batches(loaders[0]))  # another epoch draws anew
    loaders[1].load_state_dict({"seed": loaders[1].seed, "passes": 1, "consumed": 2})
    assert same(whole[2:], batches(loaders[1]))


def test_the_validation_part_has_its_own_batch_transform(caplog):
    scale = v2.ToDtype(torch.float32, scale=True)
    data = TensorDataset(torch.full((20, 1, 4, 4), 255, dtype=torch.uint8), torch.arange(20))
    augmented = v2.Compose([CutoutEach(2), scale])
    loader = BaseDataLoader(
        data, 5, validation_split=5, batch_transform=augmented, eval_batch_transform=scale
    )
    assert next(iter(loader))[0].min() == 0
    assert next(iter(loader.split_validation()))[0].min() == 1
    assert not caplog.records
    BaseDataLoader(data, 5, validation_split=5, batch_transform=augmented).split_validation()
    assert "give an eval_batch_transform" in caplog.text


def test_each_sample_draws_for_itself():
    torch.manual_seed(0)
    images = torch.arange(64, dtype=torch.float32).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    flipped = FlipEach(0.25)(images)
    mirrored = sum(torch.equal(image, images[0].flip(-1)) for image in flipped)
    assert 25 < mirrored < 75
    assert mirrored + sum(torch.equal(image, images[0]) for image in flipped) == 200
    cropped = CropEach(1)([images, torch.zeros(200)])[0]
    padded = torch.nn.functional.pad(images[0], [1] * 4)
    possible = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    found = [
        next(i for i, one in enumerate(possible) if torch.equal(image, one)) for image in cropped
    ]
    assert set(found) == set(range(9))
    holes = (CutoutEach(3)(images + 1) == 0).sum(dim=(1, 2, 3))
    assert holes.max() == 9
    assert (
        holes.min() >= 4
    )  # a corner: as of an even one, two pixels before the middle count, of three one


def test_mixing_keeps_the_sum_of_the_target_and_says_what_share_is_whose():
    torch.manual_seed(0)
    images, target = torch.rand(40, 3, 8, 8), torch.arange(40)
    mixed, soft = MixUpEach(40)([images, target])
    assert torch.allclose(soft.sum(1), torch.ones(40))
    assert torch.allclose(mixed, torch.einsum("nk,kchw->nchw", soft, images), atol=1e-6)
    cut, soft = CutMixEach(40)([images, target])
    for index in range(40):
        own = torch.isclose(cut[index], images[index]).all(0).float().mean()
        assert own >= soft[index, index] - 1e-6
        assert torch.allclose(soft[index].sum(), torch.tensor(1.0))
    assert (soft.max(1).values < 1).sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BaseDataLoader(Pictures(sizes=(8, 9)), 5, cache=True),
            r"sample 1 has uint8 \(3, 9, 6\)",
        ),
        (lambda: BaseDataLoader(Numbers(lambda i: {"x": i}), 2, cache=True), "a sample is a dict"),
        (
            lambda: BaseDataLoader(Numbers(lambda i: ("word", i)), 2, cache=True),
            "a sample holds a str",
        ),
        (lambda: BaseDataLoader(Stream(), 2, cache=True), "cannot be cached"),
        (
            lambda: BaseDataLoader(Stream(), 2, batch_transform=FlipEach()),
            "cannot be .*nor its batches transformed",
        ),
        (lambda: FlipEach()([torch.zeros(3, 4), 1]), "needs .images"),
        (
            lambda: MixUpEach(2)(
                [torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3).long()]
            ),
            "ToDtype",
        ),
    ],
)
def test_what_cannot_be_is_told(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_data_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"20 samples take .* GB are free"):
        BaseDataLoader(Pictures(), 5, cache=True)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    "in_turn", [True, False]
)  # as a run makes its loaders, for the first may download
def test_the_ranks_of_a_machine_share_the_reading_and_the_memory(ranks, in_turn):
    def read():
        data = Pictures()
        with parallel.main_process_first() if in_turn else contextlib.nullcontext():
            kept, other = cache.cached(data), cache.cached(Pictures(channels=1))
        found = [bytes(tensor.numpy()) for tensor in (*kept.tensors, *other.tensors)], data.reads
        parallel.barrier()
        if parallel.rank() == 0:
            kept.tensors[0][7] = 255
        parallel.barrier()
        return *found, kept.tensors[0][7].min().item()

    wanted = (*cache.cached(Pictures()).tensors, *cache.cached(Pictures(channels=1)).tensors)
    whole = [bytes(tensor.numpy()) for tensor in wanted]
    for rank, (values, reads, changed) in enumerate(in_ranks(ranks, read)):
        assert values == whole
        assert reads == (
            2 if rank else 22
        )  # with the first sample: its shape, and whether it is a picture
        assert changed == 255


def test_where_there_are_no_nameless_files_each_rank_reads(monkeypatch):
    monkeypatch.delattr(cache.os, "memfd_create")

    def read():
        data = Pictures()
        return bytes(cache.cached(data).tensors[0].numpy()), data.reads

    assert len(set(in_ranks(2, read))) == 1
    assert read()[1] == 22
