"""Cached features: the same training without running the frozen modules."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler

from base import BaseDataLoader
from base.data.batch_transforms import FlipEach
from base.transfer.feature_cache import FeatureDataset, cache_features, copy_loader, get_indices
from base.transfer.freezing import freeze
from base.transfer.options import TransferOptions
from base.transfer.transfer import Transfer
from tests.base.data.datasets import Stream, list_indices, numbers
from tests.base.transfer.models import freeze_all_but_head, resume_copy
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

CPU = torch.device("cpu")
LOGGER = logging.getLogger("transfer")


def config_of(tmp_path, **transfer):
    config = small_config(tmp_path, epochs=3, save_steps=4, ema_decay=0.9)
    config["arch"]["args"] = {"width": 8, "dropout": 0.5}
    return config | {"transfer": {"freeze": "all_but_head"} | transfer}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The configs and the trainers of two finished runs, without and with cached features."""
    found = []
    for run_id, is_cached in (("plain", False), ("cached", True)):
        config = config_of(tmp_path_factory.mktemp("runs"), cache_features=is_cached)
        trainer = make_trainer(config, run_id)
        trainer.train()
        found.append((config, trainer))
    return found


def test_training_gives_the_same_weights(runs):
    plain, cached = (load(t.checkpoint_dir / "checkpoint-epoch3.pt") for _, t in runs)
    for name, value in plain["state_dict"].items():
        torch.testing.assert_close(cached["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    assert torch.equal(plain["random"]["torch"], cached["random"]["torch"])
    assert plain["loader"] == cached["loader"]


def test_a_cached_run_resumes_to_the_same_bits(runs):
    _, (config, trainer) = runs
    full = load(trainer.checkpoint_dir / "checkpoint-epoch3.pt")
    assert differences(full, resume_copy(trainer, config, 2)) == []


def test_a_resumed_run_caches_the_features_of_its_start_weights(runs, tmp_path):
    _, (config, trainer) = runs
    start = trainer.checkpoint_dir / "checkpoint-epoch3.pt"
    config = config | {"transfer": config["transfer"] | {"init_from": str(start)}, "seed": 5}
    config["trainer"] = config["trainer"] | {"save_dir": str(tmp_path)}
    started = make_trainer(config, "started")
    started.train()
    full = load(started.checkpoint_dir / "checkpoint-epoch3.pt")
    assert differences(full, resume_copy(started, config, 2)) == []


class Noisy(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.rand(1), y


def test_random_transforms_are_refused():
    data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = freeze_all_but_head(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.raises(
        UserError, match=r"transfer\.cache_features: the data's transforms are random: sample 0"
    ):
        cache_features(model, [BaseDataLoader(Noisy(*data), 4)], torch.device("cpu"), None)


class Doubled(nn.Module):
    def forward(self, batch):
        return [2 * batch[0], batch[1]]


def test_batch_transforms_run_before_the_frozen_part():
    data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = freeze_all_but_head(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
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
    model = freeze_all_but_head(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    with pytest.raises(UserError, match=r"8 features take 0\.0 GB"):
        cache_features(model, [BaseDataLoader(TensorDataset(*data), 4)], CPU, LOGGER)


def small_case():
    """A model with a frozen layer, its only loader, and the section that caches its features."""
    data = TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    model = freeze_all_but_head(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    options = TransferOptions(freeze="all_but_head", cache_features=True)
    return model, BaseDataLoader(data, 4), Transfer(options, LOGGER)


def test_cached_features_refuse_an_attribute_that_nothing_would_read():
    dataset = FeatureDataset(*(torch.zeros(2, dtype=torch.int64) for _ in range(3)))
    with pytest.raises(UserError, match=r"^transfer.cache_features: .* setting its `transform`"):
        dataset.transform = None


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


# -- the same batches of other data ---------------------------------------------------------------


class Collated(Dataset):
    """Gives full batches: the indices themselves."""

    def __len__(self):
        return 10

    def __getitems__(self, indices):
        return [torch.tensor(list(indices))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop_last": True},
        {"validation_split": 3},
        {"sampler": WeightedRandomSampler([1.0] * 10, 7)},
        {"batch_transform": nn.Identity(), "num_workers": 1},
    ],
)
def test_a_copied_loader_keeps_the_indices_of_every_batch(options):
    loader = BaseDataLoader(numbers(), 4, **options)
    other = copy_loader(loader, Collated())
    passes = [list_indices(loader), list_indices(loader)]
    assert [list_indices(other), list_indices(other)] == passes
    other.load_state_dict(loader.state_dict())
    assert list_indices(other) == list_indices(loader)


def test_a_copied_loader_stays_one_for_evaluation():
    validation = BaseDataLoader(numbers(), 4, validation_split=3).split_validation()
    assert copy_loader(validation, Collated()).is_for_evaluation


def test_the_indices_of_a_loader_are_those_of_its_split():
    loader = BaseDataLoader(numbers(), 4, validation_split=3)
    validation = get_indices(loader.split_validation())
    train = get_indices(loader)
    assert sorted(train + validation) == list(range(10))
    assert {index for batch in list_indices(loader) for index in batch} == set(train)
    assert all(type(index) is int for index in train + validation)
    assert get_indices(BaseDataLoader(numbers(), 4, sampler=[1, 2])) == list(range(10))


@pytest.mark.parametrize(
    "loader",
    [
        BaseDataLoader(Stream(4), 2),
        BaseDataLoader(numbers(4), None, batch_sampler=[[0, 1], [2, 3]]),
        DataLoader(numbers(4)),
    ],
    ids=["a stream", "a batch sampler", "torch's loader"],
)
def test_a_loader_without_indices_is_refused(loader):
    model = small_case()[0]
    with pytest.raises(UserError, match=r"needs loaders derived from base\.BaseDataLoader"):
        cache_features(model, [loader], CPU, LOGGER)


def test_batches_that_are_no_pairs_are_refused():
    model = small_case()[0]
    with pytest.raises(UserError, match="the batches must be pairs of an input and a target"):
        cache_features(model, [BaseDataLoader(numbers(4), 2)], CPU, LOGGER)
