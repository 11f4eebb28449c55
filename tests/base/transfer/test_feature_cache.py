"""Cached features: the same training without running the frozen modules."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.batch_transforms import FlipEach
from base.transfer.feature_cache import cache_features
from base.transfer.freezing import freeze
from base.transfer.frozen_prefix import FrozenPrefix
from base.transfer.head import find_head
from base.transfer.options import TransferOptions
from base.transfer.transfer import Transfer
from tests.base.checkpoint.resumed_runs import full_and_resumed
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

CPU = torch.device("cpu")
LOGGER = logging.getLogger("transfer")


def frozen(model: nn.Module) -> nn.Module:
    head = find_head(model)
    freeze(model, [name for name, _ in model.named_parameters() if not name.startswith(f"{head}.")])
    return model


SHAPES = {
    "resnet18": (512, 1, 1),
    "squeezenet1_0": (512, 3, 3),
    "mobilenet_v2": (1280, 2, 2),
    "vit_b_16": (5, 768),
    "convnext_tiny": (768,),
    "swin_t": (2, 2, 768),
}


@pytest.mark.parametrize(("family", "shape"), SHAPES.items())
def test_the_rest_of_a_model_gives_the_same_output_from_features(family, shape):
    size = {"image_size": 32} if family == "vit_b_16" else {}
    model = frozen(getattr(torchvision.models, family)(**size)).eval()
    images = torch.randn(3, 3, *((32, 32) if size else (64, 64)))
    expected = model(images)
    prefix = FrozenPrefix(model, images[:2])
    features = prefix.compute(images)
    assert features.shape == (3, *shape)
    undo = prefix.skip()
    assert torch.equal(model(features), expected)
    undo()
    assert torch.equal(model(images), expected)


class Skipping(nn.Module):
    """Its head reads the outputs of two frozen modules."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.a(x) + self.b(x))


def test_a_model_that_reads_earlier_outputs_is_refused():
    with pytest.raises(
        UserError, match="Skipping reads more than the last output of its frozen modules"
    ):
        FrozenPrefix(frozen(Skipping()), torch.randn(2, 4))
    model = frozen(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    freeze(model, ["1.weight", "1.bias"])
    with pytest.raises(UserError, match="no frozen module of Sequential runs before"):
        FrozenPrefix(model, torch.randn(2, 4))


def config_of(tmp_path, **transfer):
    config = small_config(tmp_path, epochs=3, save_steps=4, ema_decay=0.9)
    config["arch"]["args"] = {"width": 8, "dropout": 0.5}
    return config | {"transfer": {"freeze": "all_but_head"} | transfer}


def test_training_gives_the_same_weights(tmp_path):
    states = []
    for run, cached in (("plain", False), ("cached", True)):
        trainer = make_trainer(config_of(tmp_path, cache_features=cached), run)
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch3.pt"))
    for name, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    assert torch.equal(states[0]["random"]["torch"], states[1]["random"]["torch"])
    assert states[0]["loader"] == states[1]["loader"]


def test_a_cached_run_resumes_to_the_same_bits(tmp_path):
    full, resumed, _, _ = full_and_resumed(tmp_path, config_of(tmp_path, cache_features=True), 2)
    assert differences(full, resumed) == []


class Noisy(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.rand(1), y


def test_random_transforms_are_refused():
    data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = frozen(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.raises(
        UserError, match=r"transfer\.cache_features: the data's transforms are random: sample 0"
    ):
        cache_features(model, [BaseDataLoader(Noisy(*data), 4)], torch.device("cpu"), None)


class Doubled(nn.Module):
    def forward(self, batch):
        return [2 * batch[0], batch[1]]


def test_whole_batches_are_transformed_before_the_frozen_part():
    data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = frozen(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    loader = BaseDataLoader(TensorDataset(*data), 4, shuffle=False, batch_transform=Doubled())
    expected = [model(batch[0]) for batch in loader]
    (cached,) = cache_features(model, [loader], CPU, LOGGER)
    assert all(
        torch.equal(model(batch[0]), values) for batch, values in zip(cached, expected, strict=True)
    )
    images = TensorDataset(torch.rand(8, 1, 4, 4), data[1])
    loader = BaseDataLoader(images, 4, batch_transform=FlipEach())
    with pytest.raises(UserError, match="the data's transforms are random"):
        cache_features(model, [loader], CPU, LOGGER)


def test_features_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr("base.transfer.feature_cache.get_free_memory", lambda: 1)
    data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = frozen(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.raises(UserError, match=r"8 features take 0\.0 GB"):
        cache_features(model, [BaseDataLoader(TensorDataset(*data), 4)], CPU, LOGGER)


def small_case():
    """A model with a frozen layer, its only loader, and the section that caches its features."""
    data = TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = frozen(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    options = TransferOptions(freeze="all_but_head", cache_features=True)
    return model, BaseDataLoader(data, 4), Transfer(options, LOGGER)


def test_a_dry_run_checks_and_changes_nothing():
    model, loader, transfer = small_case()
    inputs = torch.randn(3, 4)
    expected = model(inputs)
    assert transfer.adapt_loaders(model, [loader, None], CPU, dry_run=True) == [loader, None]
    assert torch.equal(model(inputs), expected)
    freeze(model, [])
    with pytest.raises(UserError, match="no frozen module of Sequential runs before"):
        transfer.adapt_loaders(model, [loader, None], CPU, dry_run=True)


def test_a_model_that_is_compiled_already_is_refused():
    model, loader, transfer = small_case()
    model.compile(backend="eager")
    with pytest.raises(UserError, match="Sequential is compiled already; leave it to"):
        transfer.adapt_loaders(model, [loader], CPU)


@pytest.mark.parametrize("name", ["feature_cache", "frozen_prefix"])
def test_transfer_works_without_the_optional_files(monkeypatch, name):
    for module in ("feature_cache", "frozen_prefix"):
        monkeypatch.delitem(sys.modules, f"base.transfer.{module}")
    monkeypatch.setitem(sys.modules, f"base.transfer.{name}", None)  # as if it were deleted
    model, loader, transfer = small_case()
    with pytest.raises(UserError) as caught:
        transfer.adapt_loaders(model, [loader], CPU)
    assert caught.value.problems[0].key == "transfer.cache_features"
    assert f"base.transfer.{name} is not part of this project; turn it off" in str(caught.value)
    transfer = Transfer(TransferOptions(freeze="all_but_head"), LOGGER)
    assert transfer.adapt_loaders(model, [loader], CPU) == [loader]
