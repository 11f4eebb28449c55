"""BaseTrainer works as pytorch-template's projects use it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from config import ConfigParser
from logger import TensorboardWriter
from tests.contract.contract_objects import CPU, HandTrainer, Net, make_config, make_trainer, mse
from utils import prepare_device

ATTRIBUTES = (
    "config logger model criterion metric_ftns optimizer device epochs save_period monitor "
    "mnt_mode mnt_metric mnt_best early_stop start_epoch checkpoint_dir writer"
)
VALUES = {"monitor": "max val_accuracy", "mnt_mode": "max", "early_stop": 7}  # others: anything


def test_a_trainer_has_the_templates_attributes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, monitor="min val_loss", early_stop=3, epochs=4, save_period=2)
    assert [name for name in ATTRIBUTES.split() if not hasattr(trainer, name)] == []
    assert (trainer.epochs, trainer.save_period, trainer.start_epoch) == (4, 2, 1)
    assert (trainer.monitor, trainer.mnt_mode) == ("min val_loss", "min")
    assert (trainer.mnt_metric, trainer.mnt_best, trainer.early_stop) == ("val_loss", math.inf, 3)
    assert trainer.device == CPU
    assert trainer.checkpoint_dir == tmp_path / "hand" / "run"
    assert trainer.criterion is mse
    assert isinstance(trainer.writer, TensorboardWriter)
    off = make_trainer(tmp_path)
    assert (off.monitor, off.mnt_mode, off.mnt_best, off.early_stop) == ("off", "off", 0, math.inf)
    assert make_trainer(tmp_path, monitor="max val_accuracy").mnt_best == -math.inf


@pytest.mark.parametrize(
    "name", [*ATTRIBUTES.split(), "step", "options", "update", "not_improved_count"]
)
def test_attributes_of_a_trainer_can_be_set(tmp_path: Path, name: str) -> None:
    trainer, value = make_trainer(tmp_path), VALUES.get(name, object())
    setattr(trainer, name, value)
    assert getattr(trainer, name) is value or getattr(trainer, name) == VALUES[name]


def test_attributes_that_a_subclass_sets_take_effect(tmp_path: Path) -> None:
    class SetsAttributes(HandTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.start_epoch, self.epochs, self.save_period = 3, 9, 3
            self.mnt_mode, self.mnt_metric, self.mnt_best = "max", "epoch_seen", 5.0
            self.early_stop = 2

    trainer = make_trainer(tmp_path, SetsAttributes)
    trainer.train()
    assert trainer.start_epoch == 6, "epochs 3 to 5 are no better than 5, and two are tolerated"
    names = sorted(path.name for path in (tmp_path / "hand" / "run").glob("*.pt"))
    assert names == ["checkpoint-epoch3.pt", "checkpoint-epoch5.pt"]


def test_the_number_of_the_epoch_is_an_attribute(tmp_path: Path) -> None:
    class Asks(HandTrainer):
        def _train_epoch(self, epoch: int) -> dict[str, Any]:
            assert self.epoch == epoch
            return super()._train_epoch(epoch)

    trainer = make_trainer(tmp_path, Asks, epochs=2)
    trainer.train()
    assert trainer.epoch == 3


@pytest.mark.parametrize("name", ["step", "options", "update", "evaluate", "epoch", "batches"])
def test_attributes_of_a_project_do_not_disturb_the_framework(tmp_path: Path, name: str) -> None:
    """A project may give its attributes names that the framework uses too."""
    trainer = make_trainer(tmp_path, epochs=1)
    setattr(trainer, name, {"mine": True})
    trainer.train()
    assert (tmp_path / "hand" / "run" / "checkpoint-epoch1.pt").is_file()
    assert getattr(trainer, name) == {"mine": True}


def test_a_trainer_knows_its_epoch_unless_a_project_counts_itself(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, epochs=1)
    trainer.progress.epoch = 3
    assert trainer.epoch == 3
    trainer.epoch = 7
    assert (trainer.epoch, trainer.progress.epoch) == (7, 3)


def test_base_trainer_moves_the_model_to_the_device(tmp_path: Path) -> None:
    """Projects from before ``device`` was a parameter of trainers rely on this."""
    devices = []

    class Moved(Net):
        def to(self, device: Any, *args: Any, **kwargs: Any) -> Any:
            devices.append(torch.device(device))
            return super().to(device, *args, **kwargs)

    config = ConfigParser(make_config(tmp_path) | {"n_gpu": 1}, run_id="run")
    trainer = HandTrainer(Moved(3), mse, [], None, config)
    assert trainer.device == prepare_device(1)[0]
    assert devices == [trainer.device]
    assert {parameter.device for parameter in trainer.model.parameters()} == {trainer.device}


def test_a_trainer_saves_and_resumes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, monitor="min loss")
    trainer.train()
    folder = tmp_path / "hand" / "run"
    state = torch.load(folder / "checkpoint-epoch2.pt", weights_only=True)
    assert {"arch", "epoch", "state_dict", "optimizer", "monitor_best", "config"} <= state.keys()
    assert (state["arch"], state["epoch"]) == ("Net", 2)
    assert state["config"]["optimizer"]["type"] == "SGD"
    again = make_trainer(
        tmp_path, resume=folder / "checkpoint-epoch2.pt", monitor="min loss", epochs=3
    )
    assert again.start_epoch == 3
    assert again.mnt_best == trainer.mnt_best == state["monitor_best"]
    assert torch.equal(again.model.linear.weight, trainer.model.linear.weight)
    assert again.config.resume == folder / "checkpoint-epoch2.pt"
    assert again.checkpoint_dir == folder
    again.train()
    assert torch.load(folder / "checkpoint-epoch3.pt", weights_only=True)["epoch"] == 3


def test_resume_checkpoint_takes_a_path_as_text(tmp_path: Path) -> None:
    """Projects call the method to start from the weights of another run."""
    make_trainer(tmp_path, epochs=1).train()
    path = tmp_path / "hand" / "run" / "checkpoint-epoch1.pt"
    other = make_trainer(tmp_path / "other")
    other._resume_checkpoint(str(path))
    assert other.start_epoch == 2
    assert torch.equal(other.model.linear.weight, torch.load(path)["state_dict"]["linear.weight"])


def test_resuming_twice_is_the_same_as_once(tmp_path: Path) -> None:
    """Some projects resume again after they made further objects."""

    class ResumesAgain(HandTrainer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if self.config.resume is not None:
                self._resume_checkpoint(self.config.resume)

    make_trainer(tmp_path, ResumesAgain, epochs=1).train()
    trainer = make_trainer(
        tmp_path, ResumesAgain, resume=tmp_path / "hand" / "run" / "checkpoint-epoch1.pt", epochs=3
    )
    trainer.train()
    assert (
        torch.load(tmp_path / "hand" / "run" / "checkpoint-epoch3.pt", weights_only=True)["epoch"]
        == 3
    )


def test_a_criterion_with_parameters_is_restored(tmp_path: Path) -> None:
    class LearnedLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (output - target).square().mean() * self.scale

    def make_learned_trainer(resume: Path | None) -> Any:
        config = ConfigParser(
            make_config(tmp_path, epochs=2), resume=resume, run_id=None if resume else "run"
        )
        model, criterion = Net(3), LearnedLoss()
        optimizer = torch.optim.SGD([*model.linear.parameters(), *criterion.parameters()], lr=0.1)
        return HandTrainer(model, criterion, [], optimizer, config)

    trainer = make_learned_trainer(None)
    trainer.train()
    again = make_learned_trainer(tmp_path / "hand" / "run" / "checkpoint-epoch2.pt")
    again.train()
    assert trainer.criterion.scale.item() != 1.0
    assert again.criterion.scale.item() == trainer.criterion.scale.item()


def test_a_project_can_call_save_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, save_period=10)
    trainer._save_checkpoint(3)
    trainer._save_checkpoint(4, save_best=True)
    names = sorted(path.name for path in (tmp_path / "hand" / "run").glob("*.pt"))
    assert names == ["checkpoint-epoch3.pt", "checkpoint-epoch4.pt", "model_best.pt"]
    assert torch.load(tmp_path / "hand" / "run" / "model_best.pt", weights_only=True)["epoch"] == 4


def test_an_overridden_save_checkpoint_is_called(tmp_path: Path) -> None:
    class Saves(HandTrainer):
        def _save_checkpoint(self, epoch: int, save_best: bool = False) -> None:
            vars(self).setdefault("calls", []).append((epoch, save_best))

    trainer = make_trainer(tmp_path, Saves, epochs=4, save_period=2, monitor="min epoch_seen")
    trainer.train()
    assert trainer.calls == [(1, True), (2, False), (4, False)]


def test_an_overridden_resume_checkpoint_is_called(tmp_path: Path) -> None:
    class Resumes(HandTrainer):
        def _resume_checkpoint(self, resume_path: Any) -> None:
            checkpoint = torch.load(str(resume_path))
            self.start_epoch = checkpoint["epoch"] + 1
            self.has_same_arch = checkpoint["config"]["arch"] == self.config["arch"]
            self.model.load_state_dict(checkpoint["state_dict"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])

    make_trainer(tmp_path, epochs=1).train()
    path = tmp_path / "hand" / "run" / "checkpoint-epoch1.pt"
    trainer = make_trainer(tmp_path, Resumes, resume=path, epochs=3)
    assert trainer.has_same_arch
    assert trainer.start_epoch == 2
    trainer.train()
    assert (path.parent / "checkpoint-epoch3.pt").is_file()
