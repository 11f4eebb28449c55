"""When the learning rate changes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from torch.optim import lr_scheduler as schedulers

from base.loop.lr_schedule import LRSchedule
from base.options import TrainerOptions
from tests.base.loop.schedules import make_optimizer, make_schedule
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


def get_rates(schedule: LRSchedule) -> list[float]:
    return [group["lr"] for group in schedule.optimizer.param_groups]


# -- warm-up --------------------------------------------------------------------------------------


def test_warm_up_rises_and_leaves_the_schedule_as_it_is(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=2, warmup_steps=6)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    trainer = make_trainer(config)
    rates: list[float] = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    trainer.train()
    expected = [0.01 * (i + 1) / 6 for i in range(6)] + [0.01] * 3 + [0.001] * 9
    assert rates == pytest.approx(expected)


def test_warm_up_scales_every_group_for_one_step() -> None:
    schedule = LRSchedule(None, make_optimizer(1.0, 0.1), warmup_steps=4)
    found = []
    for step in range(6):
        with schedule.warming_up(step):
            found.append(get_rates(schedule))
        assert schedule.get_rates() == found[-1]
        assert get_rates(schedule) == [1.0, 0.1]
    factors = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert found == [pytest.approx([factor, 0.1 * factor]) for factor in factors]


@pytest.mark.parametrize(
    ("steps", "start", "factors"),
    [(4, 0.1, [0.1, 0.4, 0.7, 1.0, 1.0]), (3, 0.0, [0.0, 0.5, 1.0]), (1, 0.2, [0.2, 1.0])],
)
def test_warm_up_begins_with_the_given_factor(
    steps: int, start: float, factors: list[float]
) -> None:
    schedule = LRSchedule(None, make_optimizer(1.0), warmup_steps=steps, warmup_from=start)
    found = []
    for step in range(len(factors)):
        with schedule.warming_up(step) if step < steps else contextlib.nullcontext():
            found += get_rates(schedule)
    assert found == pytest.approx(factors)


# -- after a step or after an epoch ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "interval", "moves"),
    [
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 20}, None, 18),
        ("StepLR", {"step_size": 5}, None, 2),
        ("StepLR", {"step_size": 5}, "step", 18),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.2}, "epoch", 2),
    ],
)
def test_a_schedule_moves_by_steps_or_by_epochs(
    tmp_path: Path, name: str, args: dict[str, Any], interval: str | None, moves: int
) -> None:
    config = small_config(tmp_path, lr_scheduler_interval=interval)
    config["lr_scheduler"] = {"type": name, "args": args}
    if name == "CyclicLR":
        config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.lr_scheduler.last_epoch == moves


def test_a_plateau_follows_the_monitored_number(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=3, monitor="min val_loss")
    config["lr_scheduler"] = {"type": "ReduceLROnPlateau", "args": {"patience": 100}}
    trainer = make_trainer(config)
    trainer.train()
    lines = (trainer.config.log_dir / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["val_loss"] for line in lines]
    assert trainer.lr_scheduler.best == min(losses)
    assert trainer.lr_scheduler.last_epoch == len(losses) == 3


@pytest.mark.parametrize(("mode", "rate"), [("max", 1.0), ("min", 0.5)])
def test_a_plateau_takes_its_direction_from_the_monitor(mode: str, rate: float) -> None:
    schedule = make_schedule("ReduceLROnPlateau", patience=1, factor=0.5)
    for score in (0.1, 0.2, 0.3):
        schedule.after_epoch({"score": score}, "score", mode)
    assert get_rates(schedule) == [rate]


def test_a_subclass_of_a_plateau_follows_the_metric_too() -> None:
    class Slow(schedulers.ReduceLROnPlateau):
        pass

    optimizer = make_optimizer(1.0)
    schedule = LRSchedule(Slow(optimizer, patience=0), optimizer)
    for value in (1.0, 1.0):
        schedule.after_epoch({"loss": value}, "loss", "min")
    assert get_rates(schedule) == [pytest.approx(0.1)]


class WarmUp(schedulers.LRScheduler):
    """Holds a plateau, as the one of pytorch-gradual-warmup-lr does."""

    def __init__(self, optimizer: Any) -> None:
        self.after = schedulers.ReduceLROnPlateau(optimizer, patience=0)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None, metrics: float | None = None) -> None:
        super().step(epoch) if metrics is None else self.after.step(metrics)


def test_a_plateau_inside_another_schedule_gets_its_number_and_its_direction() -> None:
    optimizer = make_optimizer(1.0)
    schedule = LRSchedule(WarmUp(optimizer), optimizer)
    for value, rate in ((1.0, 1.0), (2.0, 1.0), (1.5, 0.1)):
        schedule.after_epoch({"score": value}, "score", "max")
        assert get_rates(schedule) == [pytest.approx(rate)]


@pytest.mark.parametrize(
    ("mode", "monitor", "is_reported"),
    [("max", "min val_loss", True), ("max", "max val_accuracy", False), ("max", "off", False)],
)
def test_a_plateau_whose_mode_contradicts_the_monitor_is_reported(
    mode: Any, monitor: str, is_reported: bool
) -> None:
    optimizer = make_optimizer(1.0)
    schedule = LRSchedule(schedulers.ReduceLROnPlateau(optimizer, mode), optimizer)
    text = schedule.check_length(TrainerOptions(epochs=3, monitor=monitor), len_epoch=9)
    expected = f"ReduceLROnPlateau has the mode 'max', but trainer.monitor is '{monitor}': "
    assert text == (f"{expected}it uses 'min'" if is_reported else "")


def test_a_plateau_without_improvement_lowers_the_rate() -> None:
    schedule = make_schedule("ReduceLROnPlateau", patience=1, factor=0.5)
    for value, expected in ((1.0, 1.0), (1.0, 1.0), (2.0, 0.5), (0.1, 0.5)):
        schedule.after_epoch({"loss": 0.0, "val_loss": value}, "val_loss")
        assert get_rates(schedule) == [expected]


def test_the_rate_of_the_last_step_is_remembered() -> None:
    schedule = make_schedule("StepLR", step_size=1, gamma=0.1)
    assert schedule.first_rate == 1.0
    schedule.after_epoch({}, "")
    assert (schedule.first_rate, get_rates(schedule)) == (1.0, [0.1])


def test_without_a_scheduler_the_rate_stays() -> None:
    schedule = LRSchedule(None, make_optimizer(0.3))
    schedule.after_epoch({"loss": 1.0}, "loss")
    assert (schedule.first_rate, get_rates(schedule)) == (0.3, [0.3])


# -- mistakes -------------------------------------------------------------------------------------


def test_a_plateau_cannot_move_after_a_step() -> None:
    with pytest.raises(UserError, match=r"^trainer.lr_scheduler_interval: ReduceLROnPlateau is st"):
        make_schedule("ReduceLROnPlateau", interval="step")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [("", "which is 'off'"), ("val_los", "but 'val_los' is not among loss, val_loss")],
)
def test_a_plateau_needs_a_number_to_follow(metric: str, reason: str) -> None:
    schedule = make_schedule("ReduceLROnPlateau")
    with pytest.raises(UserError) as caught:
        schedule.after_epoch({"loss": 1.0, "val_loss": 1.0}, metric)
    expected = f"lr_scheduler: ReduceLROnPlateau follows trainer.monitor, {reason}"
    assert str(caught.value) == expected


def test_a_schedule_that_is_over_is_an_error_of_one_line() -> None:
    schedule = make_schedule("OneCycleLR", max_lr=1.0, total_steps=2)
    schedule.after_step()
    schedule.after_step()
    with pytest.raises(UserError, match=r"^lr_scheduler: OneCycleLR: Tried to step 3") as caught:
        schedule.after_step()
    assert "\n" not in str(caught.value)


# -- the length of the run ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "problem"),
    [
        ("CosineAnnealingLR", {"T_max": 3}, ""),
        (
            "CosineAnnealingLR",
            {"T_max": 100},
            "CosineAnnealingLR is set up for T_max=100, but the run has 3 epochs",
        ),
        ("OneCycleLR", {"max_lr": 1.0, "total_steps": 15}, ""),
        (
            "OneCycleLR",
            {"max_lr": 1.0, "epochs": 3, "steps_per_epoch": 9},  # of 9 batches, two a step
            "OneCycleLR is set up for total_steps=27, but the run has 15 optimizer steps",
        ),
        ("MultiStepLR", {"milestones": [1, 2]}, ""),
        (
            "MultiStepLR",
            {"milestones": [1, 3]},
            "MultiStepLR never reaches its last milestone, 3: the run has 3 epochs",
        ),
        ("MultiStepLR", {"milestones": [1, 14], "interval": "step"}, ""),
        (
            "MultiStepLR",
            {"milestones": [1, 15], "interval": "step"},
            "MultiStepLR never reaches its last milestone, 15: the run has 15 optimizer steps",
        ),
        ("StepLR", {"step_size": 100}, ""),  # has no length
        ("ReduceLROnPlateau", {}, ""),
    ],
)
def test_a_schedule_for_another_length_than_the_run_is_described(
    name: str, args: dict[str, Any], problem: str
) -> None:
    schedule = make_schedule(name, **args)
    options = TrainerOptions(epochs=3, accumulation_steps=2)
    assert schedule.check_length(options, len_epoch=9) == problem
    assert schedule.check_length(options, len_epoch=None) == ""


def test_a_run_without_a_schedule_has_no_length_to_compare() -> None:
    schedule = LRSchedule(None, make_optimizer(1.0))
    assert schedule.check_length(TrainerOptions(epochs=3), len_epoch=9) == ""


def test_a_warm_up_longer_than_the_run_is_an_error() -> None:
    schedule = LRSchedule(None, make_optimizer(1.0))
    options = TrainerOptions(epochs=3, accumulation_steps=2, warmup_steps=16)
    with pytest.raises(UserError, match=r"trainer.warmup_steps: 16 is more than the 15 optimizer"):
        schedule.check_length(options, len_epoch=9)
    assert schedule.check_length(options, len_epoch=None) == ""


def test_the_trainer_warns_of_a_schedule_for_another_length(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path)
    config["lr_scheduler"] = {"type": "CosineAnnealingLR", "args": {"T_max": 50}}
    make_trainer(config)
    assert "lr_scheduler: CosineAnnealingLR is set up for T_max=50, but the run has 2 epochs" in (
        caplog.text
    )
