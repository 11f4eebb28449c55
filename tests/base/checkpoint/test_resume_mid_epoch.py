"""A run that is resumed inside an epoch, at any step, ends with the bits of one without a stop."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

import train
from base import BaseDataLoader
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.helpers import make_trainer, small_config

ADAM = {"type": "Adam", "args": {"lr": 0.001}}
GAN = {"arch": {"type": "gan.GAN"}, "loss": "binary_cross_entropy_with_logits", "metrics": []}
GAN |= {"optimizer": ADAM, "discriminator_optimizer": ADAM}
CYCLE = {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 6}}}
PLATEAU = {"lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0}}}
CLASSES = {"task": "multiclass", "num_classes": 10}
GATHERING_METRICS = [  # that give a number only after the epoch
    {"type": "Accuracy", "args": {"average": "macro"} | CLASSES},
    {"type": "AUROC", "args": CLASSES},
    {"type": "AveragePrecision", "args": {"thresholds": 7} | CLASSES},
]
# Options of the trainer and of the loader, and other sections.
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
    "metrics of the epoch": ({}, {}, {"metrics": GATHERING_METRICS}),
}
INSIDE_EPOCHS = "checkpoint-*-step*.pt"


SLOW_VARIANTS = ("longer, accumulating", "warm-up")  # whose parts the other variants have


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(variant, marks=pytest.mark.slow) if variant in SLOW_VARIANTS else variant
        for variant in VARIANTS
    ],
)
def test_resume_after_any_step_gives_the_same_bits(tmp_path, variant):
    trainer, loader, *sections = VARIANTS[variant]
    config = small_config(tmp_path, **{"save_steps": 1} | trainer)
    for section in sections:
        config |= section
    config["data_loader"]["args"] |= {"batch_size": 480} | loader
    check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), INSIDE_EPOCHS, at_least=4
    )


# -- other data ----------------------------------------------------------------------------------


class Stream(IterableDataset):
    """Digits-like samples in an order of their own, with random noise."""

    def __init__(self, n=600):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(n, 1, 8, 8, generator=generator)

    def __iter__(self):
        for number, image in enumerate(self.images):
            yield image + 0.1 * torch.rand(1), number % 10


class SizedStream(Stream):
    def __len__(self):
        return len(self.images)


class EstimatedStream(Stream):
    def __len__(self):
        return 400


def make_weighted_loader():
    stream = Stream(400)
    data = TensorDataset(stream.images, torch.arange(400) % 10)
    return BaseDataLoader(data, 100, sampler=WeightedRandomSampler(torch.arange(1.0, 401), 400))


LOADERS = {
    "weighted sampler": make_weighted_loader,
    "iterable": lambda: BaseDataLoader(Stream(), 200, shuffle=False),
    "iterable with a length": lambda: BaseDataLoader(SizedStream(), 200, shuffle=False),
    "iterable, accumulating": lambda: BaseDataLoader(Stream(), 150, shuffle=False),
    "iterable, estimated": lambda: BaseDataLoader(EstimatedStream(), 200, shuffle=False),
    "torch's loader, estimated": lambda: DataLoader(EstimatedStream(), 200),
}


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("name", LOADERS)
def test_resume_with_other_data_gives_the_same_bits(tmp_path, name):
    window = 3 if "accumulating" in name else 1
    config = small_config(tmp_path, save_steps=1, accumulation_steps=window)

    def make(run_id, resume):
        parser = ConfigParser(config, resume=resume, run_id=run_id)
        parser.check(SCHEMA)
        loaders = [LOADERS[name](), None]
        return train.make_trainer(parser, logging.getLogger("train"), lambda _: loaders)

    check_resuming(make, INSIDE_EPOCHS, at_least=2)
