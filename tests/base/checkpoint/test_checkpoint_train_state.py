"""The state of a run is collected from the attributes of an object, and restored into them."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.checkpoint.file import load, save
from base.checkpoint.train_state import TrainState
from base.loop.metrics import MetricSet
from base.loop.progress import Monitor, Progress
from base.loop.update import Update
from base.options import TrainerOptions
from base.parallel.strategy import NoParallel
from tests.helpers import differences
from utils.errors import UserError
from utils.seed import get_random_state

LOGGER = logging.getLogger("test.state")
SCHEDULE = {"type": "StepLR", "args": {"step_size": 2}}


class Config(dict):
    """As much of a ConfigParser as a TrainState looks at."""

    def plain(self):
        return dict(self)


def make_config(**more):
    optimizer = {"type": "Adam", "args": {"lr": 0.1}}
    trainer = {"monitor": "min val_loss"}
    return Config({"trainer": trainer, "optimizer": optimizer, "lr_scheduler": SCHEDULE} | more)


class Owner:
    """Has the objects of a run as its attributes."""

    def __init__(self, **objects):
        vars(self).update(objects)


class Run:
    """The objects of a run, and its state, without a trainer.

    Args:
        start_seed: of the start weights and of the data.
        more: further values of the config.

    Attributes:
        objects: by name; what is added here is an attribute of the owner.
    """

    def __init__(self, start_seed, **more):
        torch.manual_seed(start_seed)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        self.progress, self.monitor = Progress(), Monitor("min", "val_loss")
        device = torch.device("cpu")
        options = TrainerOptions(epochs=9, ema_decay=0.9)
        data = TensorDataset(torch.arange(24.0).reshape(12, 2), torch.ones(12, 1))
        self.owner = Owner(
            model=model,
            optimizer=optimizer,
            device=device,
            data_loader=BaseDataLoader(data, 2, shuffle=True),
            lr_scheduler=schedule,
            update=Update(model, optimizer, options, device, schedule, None, self.progress),
            train_metrics=MetricSet([], None),
            valid_metrics=MetricSet([], None),
            criterion=nn.MSELoss(),
            layers=[1, 2],
        )
        self.objects = vars(self.owner)
        config = make_config(**more)
        self.state = TrainState(self.owner, NoParallel(), self.progress, self.monitor, config)

    def train(self, batches):
        """Trains so many more batches of the present epoch."""
        update, loader = self.objects["update"], self.objects["data_loader"]
        loader.set_epoch(self.progress.epoch, self.progress.batch)
        for _, (x, y) in zip(range(batches), loader, strict=False):
            self.progress.batch += 1
            with update.forward_context():
                output = self.objects["model"](x + torch.rand(1))
                loss = self.objects["criterion"](output, y)
            update.backward(loss)
            self.objects["train_metrics"].add_batch(loss, output, y)
            update.step()

    def collect(self):
        return self.state.collect()


@pytest.fixture
def path(tmp_path):
    """A checkpoint in the middle of the second epoch."""
    run = Run(start_seed=1)
    run.train(6)
    run.monitor.update({"epoch": 1, "val_loss": 0.5})
    run.progress.finish_epoch(1)
    run.objects["train_metrics"].reset()
    run.train(2)
    save(run.collect(), tmp_path / "checkpoint-epoch2-step8.pt")
    return tmp_path / "checkpoint-epoch2-step8.pt"


def resumed(path, start_seed=2, **more):
    """A run that has resumed from a checkpoint, and the report."""
    run = Run(start_seed, **more)
    run.state.resume(path, LOGGER)
    return run, run.state.restore_rest()


# -- collecting ----------------------------------------------------------------------------------


def test_a_state_is_of_tensors_and_plain_values(path):
    state = torch.load(path, weights_only=True)
    assert set(state) == {
        "format", "arch", "epoch", "step", "state_dict", "optimizer", "parts", "loader", "random",
        "random_of_ranks", "config", "environment", "within", "monitor_best", "not_improved_count",
        "best",
    }  # fmt: skip
    assert (state["arch"], state["epoch"], state["step"]) == ("Linear", 1, 8)
    assert (state["within"]["place"], state["best"]) == (2, [[0.5, 1]])
    assert set(state["parts"]) == {"lr_scheduler", "update"}
    assert set(state["within"]["trackers"]) == {"train_metrics"}


def test_after_an_epoch_there_is_no_state_of_half_an_epoch():
    run = Run(start_seed=1)
    assert "within" not in run.collect()


def test_whatever_has_a_state_is_saved_also_if_it_was_added_later():
    run = Run(start_seed=1)
    critic = nn.Linear(3, 1)
    run.objects["critic"] = critic
    run.objects["critic_optimizer"] = torch.optim.SGD(critic.parameters(), lr=0.1)
    run.objects["part_of_the_model"] = run.objects["model"]
    assert set(run.state.list_stateful()) == {
        "lr_scheduler", "update", "critic", "critic_optimizer",
    }  # fmt: skip


def test_a_validation_is_repeated_with_the_random_numbers_of_its_start():
    run = Run(start_seed=1)
    before = get_random_state()
    torch.rand(5)
    assert differences(run.state.collect(before)["random"], before) == []
    assert differences(run.collect()["random"], before) != []


# -- restoring -----------------------------------------------------------------------------------


def test_everything_is_restored_to_the_bit(path):
    run, report = resumed(path)
    assert differences(run.collect(), load(path)) == []
    assert (run.progress.epoch, run.progress.batch, run.progress.step) == (2, 2, 8)
    assert (run.monitor.best, run.monitor.best_epochs) == (0.5, [(0.5, 1)])
    assert set(report.outcomes) == {
        "weights", "optimizer", "best, patience", "lr_scheduler", "update", "order, random numbers",
    }  # fmt: skip
    assert set(report.outcomes.values()) == {"kept"}
    assert (report.epoch, report.step, report.changes, report.inexact) == (1, 8, [], [])


def test_a_resumed_run_trains_on_to_the_same_bits(path):
    ends = []
    for seed in (2, 3):
        run, _ = resumed(path, seed)
        run.train(4)
        assert run.progress.batch == 6
        ends.append(run.collect())
    assert differences(*ends) == []
    assert differences(ends[0]["state_dict"], load(path)["state_dict"]) != []


def test_what_a_constructor_makes_after_resume_is_restored_too(tmp_path):
    first = Run(start_seed=1)
    first.objects["critic"] = nn.Linear(3, 1)
    save(first.collect(), tmp_path / "checkpoint-epoch1.pt")
    run = Run(start_seed=2)
    run.state.resume(tmp_path / "checkpoint-epoch1.pt", LOGGER)
    run.objects["critic"] = nn.Linear(3, 1)
    assert run.state.restore_rest().outcomes["critic"] == "kept"
    assert torch.equal(run.objects["critic"].weight, first.objects["critic"].weight)


def test_the_weights_and_counters_are_there_before_the_rest(path):
    run = Run(start_seed=2)
    run.state.resume(path, LOGGER)
    assert run.progress.epoch == 2
    assert run.monitor.best == 0.5
    assert differences(run.objects["model"].state_dict(), load(path)["state_dict"]) == []
    assert run.progress.step == 0
    run.state.restore_rest()
    assert run.progress.step == 8


def test_the_rest_is_restored_once(path):
    run, _ = resumed(path)
    run.progress.step = 99
    assert run.state.restore_rest() is None
    assert run.progress.step == 99
    assert Run(start_seed=1).state.restore_rest() is None


def test_another_seed_gives_another_order_from_the_same_batch(path):
    run, report = resumed(path, start_seed=5)
    assert report.outcomes["order, random numbers"] == "kept"
    assert (run.objects["data_loader"].seed, run.progress.batch) == (1, 2)
    run, report = resumed(path, start_seed=5, seed=5)
    assert report.outcomes["order, random numbers"] == "reset, because seed changed"
    assert (run.objects["data_loader"].seed, run.progress.batch) == (5, 2)


def test_another_schedule_is_reset(path):
    run, report = resumed(path, lr_scheduler={"type": "StepLR", "args": {"step_size": 3}})
    assert run.objects["lr_scheduler"].last_epoch == 0
    assert "reset" in report.outcomes["lr_scheduler"]
    assert report.changes == ["  lr_scheduler.args.step_size: 2 -> 3"]


def test_another_monitor_is_reset(path):
    run, report = resumed(path, trainer={"monitor": "max val_accuracy"})
    assert run.monitor.best == float("inf")
    assert "reset" in report.outcomes["best, patience"]


def test_a_checkpoint_of_the_template_restores_model_optimizer_and_best(path, caplog):
    state = {
        key: value
        for key, value in load(path).items()
        if key in ("state_dict", "epoch", "optimizer", "config", "monitor_best", "arch")
    }
    save(state, path)
    run, report = resumed(path)
    assert report is None
    assert "holds no scheduler, patience or random state" in caplog.text
    assert (run.progress.epoch, run.progress.batch, run.monitor.best) == (2, 0, 0.5)
    assert differences(run.objects["optimizer"].state_dict(), state["optimizer"]) == []


def test_an_object_that_does_not_fit_is_one_line(path):
    run = Run(start_seed=2)
    run.state.resume(path, LOGGER)
    state = load(path)
    state["parts"]["lr_scheduler"] = {"step": 1}
    save(state, path)
    run = Run(start_seed=2)
    run.state.resume(path, LOGGER)
    with pytest.raises(UserError, match="its state does not fit this trainer: a scheduler's step"):
        run.state.restore_rest()
