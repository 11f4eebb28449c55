"""Training in phases: schedules, resumed runs, and whether the start weights help."""

from __future__ import annotations

import json
import logging
import runpy
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.split import split_indices
from data_loader.data_loaders import DigitsDataLoader
from tests.base.run_folders import restored_root_logger
from tests.base.transfer.models import resume_copy, thawing_config
from tests.config.check.project_file import add_project_file
from tests.helpers import ROOT, differences, load, make_trainer, small_config

SCHEDULERS = {
    "StepLR": {"step_size": 1, "gamma": 0.5},
    "MultiStepLR": {"milestones": [1, 3], "gamma": 0.5},
    "ConstantLR": {"factor": 0.5, "total_iters": 2},
    "LinearLR": {"total_iters": 3},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 4},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5},
    "OneCycleLR": {"max_lr": 0.05, "total_steps": 36},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.05, "step_size_up": 5},
}


SLOW = {"ConstantLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LinearLR", "MultiStepLR"}
SLOW |= {"PolynomialLR"}  # as they are the same to a parameter group as the others


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SCHEDULERS],
)
def test_a_thawed_group_follows_every_schedule_at_its_scale(tmp_path, name):
    config = thawing_config(tmp_path, lr_scheduler={"type": name, "args": SCHEDULERS[name]})
    rates: list[list[float]] = []
    trainer = make_trainer(config)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    train_epoch = trainer._train_epoch

    def watched(epoch):
        log = train_epoch(epoch)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        state = trainer.model.state_dict()
        for key in ("features.3.weight", "features.4.running_mean"):
            assert torch.equal(state[key], before[key]) == (epoch < 3)
        return log

    trainer._train_epoch = watched
    trainer.train()
    assert torch.equal(trainer.model.features[0].weight, before["features.0.weight"])
    assert {round(min(pair) / max(pair), 6) for pair in rates if max(pair) > 0} == {0.1}
    freeze_only = {**config, "transfer": {"freeze": config["transfer"]["freeze"]}}
    single = make_trainer(freeze_only, "single")
    single.train()
    assert len(single.optimizer.param_groups) == 1
    if name != "ReduceLROnPlateau":  # which depends on the results
        assert max(rates[-1]) == pytest.approx(single.optimizer.param_groups[0]["lr"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config and the trainer of a finished run with two phases."""
    scheduler = {"type": "CosineAnnealingLR", "args": {"T_max": 4}}
    config = thawing_config(tmp_path_factory.mktemp("runs"), lr_scheduler=scheduler)
    trainer = make_trainer(config)
    trainer.train()
    return config, trainer


@pytest.mark.parametrize("after", [1, 2, 3])
def test_resuming_before_at_and_after_a_phase_gives_the_same_bits(finished, after):
    config, trainer = finished
    full = load(trainer.checkpoint_dir / "checkpoint-epoch4.pt")
    assert differences(full, resume_copy(trainer, config, after)) == []


def test_another_thawing_resets_the_optimizer(tmp_path, caplog):
    config = thawing_config(tmp_path)
    make_trainer(config).train()
    config["transfer"] = {**config["transfer"], "thaw": None}
    config["trainer"] |= {"epochs": 5}
    with caplog.at_level(logging.WARNING):
        make_trainer(config, resume=tmp_path / "small/run/checkpoint-epoch4.pt").train()
    assert "the optimizer is reset." in caplog.text


# -- shown on digits -----------------------------------------------------------------------------


class HalfOfTheDigits(BaseDataLoader):
    """The digits from ``low`` to ``high``, half of them to validate on."""

    def __init__(self, low: int, high: int, per_class: int = 0, batch_size: int = 32):
        x, y = load_digits(return_X_y=True)
        chosen = (y >= low) & (y <= high)
        x = torch.tensor(x[chosen] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
        y = torch.tensor(y[chosen] - low)
        train, valid = split_indices(len(y), 0.5, labels=y)
        if per_class:
            classes = [[i for i in train if y[i] == c] for c in range(high - low + 1)]
            train = [i for members in classes for i in members[:per_class]]
        order = [*train, *valid]
        dataset = TensorDataset(x[order], y[order].long())
        super().__init__(dataset, batch_size, sampler=range(len(train)))
        self.rest = range(len(train), len(order))

    def split_validation(self):
        return BaseDataLoader(self.dataset, 256, sampler=self.rest)


def digits_config(tmp_path, epochs, **sections):
    """A run on the digits 5 to 9, few of each, unless the sections say otherwise."""
    config = small_config(tmp_path, epochs=epochs, monitor="max val_accuracy")
    config["arch"]["args"] = {"width": 16, "num_classes": 5}
    config["data_loader"] = {
        "type": "halves.Loader",
        "args": {"low": 5, "high": 9, "per_class": 50},
    }
    return config | {"seed": 1} | sections


def test_training_on_digits_0_to_4_helps_with_5_to_9(tmp_path, monkeypatch, caplog):
    add_project_file(monkeypatch, "data_loader.halves", Loader=HalfOfTheDigits)
    first_half = {"type": "halves.Loader", "args": {"low": 0, "high": 4}}
    make_trainer(digits_config(tmp_path, 8, data_loader=first_half), "first").train()
    scratch = make_trainer(digits_config(tmp_path, 2), "scratch")
    scratch.train()
    transfer = {"init_from": str(tmp_path / "small/first"), "head": {"num_classes": 5}}
    config = digits_config(tmp_path, 2, transfer=transfer)
    with caplog.at_level(logging.INFO, logger="train"):
        transferred = make_trainer(config, "transferred")
    assert "matched       " in caplog.text
    assert "New head: classifier.2, with 5 outputs." in caplog.text
    transferred.train()
    assert transferred.mnt_best > scratch.mnt_best
    state = load(tmp_path / "small/transferred/model_best.pt")
    assert state["config"]["transfer"]["init_from"] == transfer["init_from"]


def test_the_test_program_makes_the_new_head_before_it_loads_the_weights(tmp_path, monkeypatch):
    config = small_config(tmp_path, epochs=1)
    config["arch"]["args"]["num_classes"] = 3
    config["transfer"] = {"head": {"num_classes": 10}}
    trainer = make_trainer(config)
    trainer.train()
    output = tmp_path / "result.json"
    words = ["test.py", "-r", str(trainer.checkpoint_dir), "-o", str(output)]
    monkeypatch.setattr(sys, "argv", words)
    with restored_root_logger():
        runpy.run_path(str(ROOT / "test.py"), run_name="__main__")
    images, classes = DigitsDataLoader(training=False).dataset.tensors
    with torch.no_grad():
        predicted = trainer.model.eval()(images).argmax(1)
    accuracy = (predicted == classes).float().mean().item()
    assert json.loads(output.read_text())["metrics"]["accuracy"] == pytest.approx(accuracy)
