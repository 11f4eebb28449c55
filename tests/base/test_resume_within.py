"""A run that is resumed within an epoch, wherever that is, ends with the bits of one that never stopped."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import torchmetrics
from torch.utils.data import IterableDataset, TensorDataset, WeightedRandomSampler

from base import BaseDataLoader
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

ADAM = {"type": "Adam", "args": {"lr": 0.001}}
GAN = {"arch": {"type": "gan.GAN"}, "loss": "binary_cross_entropy_with_logits", "metrics": []}
GAN |= {"optimizer": ADAM, "discriminator_optimizer": ADAM}
CYCLE = {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 6}}}
PLATEAU = {"lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0}}}
VARIANTS = {
    "plain": ({}, {}),
    "accumulation": ({"accumulation_steps": 4}, {"batch_size": 100}),
    "ema and clipping": ({"ema_decay": 0.9, "grad_clip_norm": 0.5}, {}),
    "fp16": ({"precision": "fp16"}, {}),
    "shorter than the data": ({"len_epoch": 2, "epochs": 4}, {}),
    "longer than the data": ({"len_epoch": 5}, {}),
    "longer, accumulating": ({"len_epoch": 5, "accumulation_steps": 2}, {}),
    "warm-up": ({"warmup_steps": 5}, {}),
    "early stopping": ({"monitor": "max val_accuracy", "early_stop": 1, "epochs": 4}, {}),
    "two workers": ({}, {"num_workers": 2}),
    "one cycle": ({}, {}, CYCLE),
    "plateau": ({"monitor": "min val_loss", "epochs": 3}, {}, PLATEAU),
    "gan": ({"type": "gan.GanTrainer"}, {}, GAN),
    "asynchronous": ({"async_save": True, "save_period": 2}, {}),
}


def config_of(tmp_path, variant):
    trainer, loader, *rest = VARIANTS[variant]
    config = small_config(tmp_path, **{"save_steps": 1} | trainer) | (rest[0] if rest else {})
    config["data_loader"]["args"] |= {"batch_size": 480} | loader
    return config


def lines(folder):
    found = [json.loads(line) for line in (folder / "log" / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def last(folder):
    return max(folder.glob("checkpoint-epoch?.pt"))


def check_every_place(tmp_path, make, at_least=4):
    """Resumes from each checkpoint within an epoch; ``make(run_id, resume)`` gives a trainer."""
    full = make("full", None)
    full.train()
    within = sorted(full.checkpoint_dir.glob("checkpoint-*-step*.pt"))
    assert len(within) >= at_least
    for path in within:
        folder = tmp_path / "small" / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        shutil.copytree(full.checkpoint_dir / "log", folder / "log")  # with lines to drop
        for best in full.checkpoint_dir.glob("model_best.pt"):
            shutil.copy(best, folder)
        resumed = make(None, folder / path.name)
        resumed.train()
        assert last(folder).name == last(full.checkpoint_dir).name, path.name
        assert differences(load(last(folder)), load(last(full.checkpoint_dir))) == [], path.name
        assert lines(folder) == lines(full.checkpoint_dir), path.name
    return full


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_every_place(tmp_path, variant):
    config = config_of(tmp_path, variant)
    check_every_place(tmp_path, lambda run_id, resume: make_trainer(config, run_id, resume))


def fitted(config, run_id, resume, data_loader, metrics=None):
    """A trainer with another training loader, which the seed made, or other metrics."""
    if data_loader is not None:
        config = config | {"data_loader": {"type": "DigitsDataLoader", "args": {"batch_size": 480}}}
    trainer = make_trainer(config, run_id)if resume is None else make_trainer(config, resume=resume)
    return trainer


class Stream(IterableDataset):
    """Digits-like samples in an order of their own, some of them drawn."""

    def __init__(self, n=600):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(n, 1, 8, 8, generator=generator)

    def __iter__(self):
        for number, image in enumerate(self.images):
            yield image + 0.1 * torch.rand(1), number % 10


class SizedStream(Stream):
    def __len__(self):
        return len(self.images)


def weighted():
    stream = Stream(400)
    data = TensorDataset(stream.images, torch.arange(400) % 10)
    return BaseDataLoader(data, 100, sampler=WeightedRandomSampler(torch.arange(1.0, 401), 400))


LOADERS = {
    "weighted sampler": weighted,
    "iterable": lambda: BaseDataLoader(Stream(), 200, shuffle=False),
    "iterable with a length": lambda: BaseDataLoader(SizedStream(), 200, shuffle=False),
    "iterable, accumulating": lambda: BaseDataLoader(Stream(), 150, shuffle=False),
}


@pytest.mark.parametrize("name", LOADERS)
def test_from_every_place_with_other_data(tmp_path, monkeypatch, name):
    config = small_config(tmp_path, save_steps=1, accumulation_steps=3 if "accumulating" in name else 1)
    monkeypatch.setattr("data_loader.data_loaders.DigitsDataLoader.split_validation", lambda self: None)

    def make(run_id, resume):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("config.ConfigParser.build", building(LOADERS[name]))
            return make_trainer(config, run_id, resume)

    check_every_place(tmp_path, make, at_least=2)


def building(make_loader):
    """``ConfigParser.build`` with another training loader."""
    from config import ConfigParser

    usual = ConfigParser.build
    return lambda self, slot, *args: make_loader() if slot == "data_loader" else usual(self, slot, *args)


def test_from_every_place_with_metrics_that_gather_the_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "config.ConfigParser.build_metrics",
        lambda self: [
            torchmetrics.Accuracy(task="multiclass", num_classes=10, average="macro"),
            torchmetrics.AUROC(task="multiclass", num_classes=10),
            torchmetrics.AUROC(task="multiclass", num_classes=10, thresholds=7),
            torchmetrics.MeanMetric() if False else torchmetrics.F1Score(task="multiclass", num_classes=10),
        ][:: 1],
    )
    config = config_of(tmp_path, "plain")
    check_every_place(tmp_path, lambda run_id, resume: make_trainer(config, run_id, resume))
