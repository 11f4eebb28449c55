"""Transforms of whole batches: each sample draws for itself, whatever the workers."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from base.base_data_loader import BaseDataLoader
from base.data import batch_transforms
from base.data.batch_transforms import (
    CropEach,
    CutMixEach,
    CutoutEach,
    FlipEach,
    MixUpEach,
    NormalizeBatch,
)
from tests.base.data.datasets import SCALE, Pictures, Stream, are_equal, batches
from utils.errors import UserError

IMAGES = torch.zeros(3, 1, 2, 2)


def test_a_batch_transform_gives_the_same_as_the_transform_of_single_samples():
    torch.manual_seed(3)
    one_by_one = BaseDataLoader(Pictures(v2.Compose([*SCALE, v2.Normalize([0.5], [0.2])])), 6)
    torch.manual_seed(3)
    transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.2])])
    at_once = BaseDataLoader(Pictures(), 6, cache=True, batch_transform=transform)
    assert are_equal(batches(one_by_one), batches(at_once))


def test_random_transforms_do_not_depend_on_workers_and_continue_anywhere():
    transform = v2.Compose(
        [FlipEach(), CropEach(2), v2.ToDtype(torch.float32, scale=True), MixUpEach(2)]
    )
    loaders = []
    for num_workers in (0, 2):
        torch.manual_seed(3)
        options = {"num_workers": num_workers, "cache": True, "batch_transform": transform}
        loaders.append(BaseDataLoader(Pictures(), 6, **options))
    expected = batches(loaders[0])
    torch.rand(5)
    assert are_equal(expected, batches(loaders[1]))
    assert not are_equal(expected, batches(loaders[0]))  # another epoch draws other numbers
    loaders[1].load_state_dict({"seed": loaders[1].seed, "passes": 1, "consumed": 2})
    assert are_equal(expected[2:], batches(loaders[1]))


def test_the_validation_split_may_have_another_batch_transform(caplog):
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


def test_each_sample_is_flipped_for_itself():
    torch.manual_seed(0)
    images = torch.arange(64, dtype=torch.float32).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    flipped = FlipEach(0.25)(images)
    num_mirrored = sum(torch.equal(image, images[0].flip(-1)) for image in flipped)
    num_kept = sum(torch.equal(image, images[0]) for image in flipped)
    assert 25 < num_mirrored < 75
    assert num_mirrored + num_kept == 200


def test_each_sample_is_cropped_at_another_position():
    torch.manual_seed(0)
    images = torch.arange(64, dtype=torch.float32).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    cropped, _ = CropEach(1)([images, torch.zeros(200)])
    padded = torch.nn.functional.pad(images[0], [1] * 4)
    possible = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    found = {
        next(index for index, crop in enumerate(possible) if torch.equal(image, crop))
        for image in cropped
    }
    assert found == set(range(9))


def test_cutout_may_cross_the_edge():
    torch.manual_seed(0)
    sizes = (CutoutEach(3)(torch.ones(200, 1, 8, 8)) == 0).sum(dim=(1, 2, 3))
    assert sizes.max() == 9
    assert sizes.min() == 4  # around a corner


def test_mixing_keeps_the_sum_of_the_target_and_weights_both_images():
    torch.manual_seed(0)
    images, target = torch.rand(40, 3, 8, 8), torch.arange(40)
    mixed, soft = MixUpEach(40)([images, target])
    assert torch.allclose(soft.sum(1), torch.ones(40))
    assert torch.allclose(mixed, torch.einsum("nk,kchw->nchw", soft, images), atol=1e-6)
    mixed, soft = CutMixEach(40)([images, target])
    for index in range(40):
        kept = torch.isclose(mixed[index], images[index]).all(0).float().mean()
        assert kept >= soft[index, index] - 1e-6
        assert torch.allclose(soft[index].sum(), torch.tensor(1.0))
    assert (soft.max(1).values < 1).sum() > 0


@pytest.mark.parametrize("mix", [MixUpEach(2), CutMixEach(2)])
def test_mixing_takes_classes_of_any_integer_and_probabilities(mix):
    classes = torch.tensor([0, 1, 1])
    probabilities = torch.nn.functional.one_hot(classes, 2).float()
    mixed = []
    for target in (classes, classes[:, None], classes.int(), probabilities):
        torch.manual_seed(0)
        mixed.append(mix([IMAGES, target])[1])
    assert all(torch.equal(target, mixed[0]) for target in mixed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BaseDataLoader(Stream(), 2, batch_transform=FlipEach()),
            r"supports neither cache nor batch_transform",
        ),
        (lambda: FlipEach()([torch.zeros(3, 4), 1]), r"^batch_transform: FlipEach needs \[images"),
        (
            lambda: MixUpEach(2)(
                [torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3).long()]
            ),
            r"^batch_transform: MixUpEach needs float images: put a ToDtype",
        ),
        (lambda: MixUpEach(2)({"x": IMAGES, "target": 1}), r"MixUpEach needs \[images \(N"),
        (lambda: MixUpEach(2)([IMAGES, torch.zeros(3)]), r"needs a target of class indices \(N,"),
        (lambda: CutMixEach(2)([IMAGES, torch.zeros(3, 2, 2).long()]), r"needs a target of class"),
        (lambda: MixUpEach(2)([IMAGES, [0, 1, 1]]), r"probabilities \(N, 2\), not a list"),
        (lambda: MixUpEach(2)([IMAGES, torch.arange(3)]), r"MixUpEach has num_classes=2: Class"),
    ],
)
def test_unsuitable_batches_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_normalize_batch_gives_the_bits_of_torchvision():
    mean, std = [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
    images = torch.rand(4, 3, 5, 5)
    normalize = NormalizeBatch(mean, std)
    for batch in (images, images.bfloat16(), images):
        assert torch.equal(normalize(batch), v2.Normalize(mean, std)(batch))
    with pytest.raises(UserError, match="ToDtype"):
        normalize((images * 255).to(torch.uint8))
    with pytest.raises(UserError, match="none of them 0"):
        NormalizeBatch([0.5], [0.0])


def test_values_on_the_device_are_not_pinned(monkeypatch):
    """CUDA refuses to pin its own tensors; the weights of CutMix are computed on the device."""
    monkeypatch.setattr(batch_transforms, "PINNED_FOR", ("cpu",))
    values = torch.ones(3)
    assert batch_transforms.copy_to(torch.device("cpu"), values) is values
