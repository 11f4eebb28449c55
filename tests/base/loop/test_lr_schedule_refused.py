"""Rates and schedules that cannot work are refused at the start of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader

from base.loop.lr_schedule import LRSchedule
from base.options import TrainerOptions
from tests.base.loop.schedules import make_optimizer, make_schedule
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


def one_cycle(total_steps: int) -> LRSchedule:
    return make_schedule("OneCycleLR", interval="step", max_lr=1.0, total_steps=total_steps)


def test_a_schedule_that_will_surely_fail_in_the_run_is_an_error() -> None:
    options, loader = TrainerOptions(epochs=3), DataLoader(range(9))
    message = (
        "^lr_scheduler: OneCycleLR is set up for total_steps=20, but the run has 27 .* after 20$"
    )
    with pytest.raises(UserError, match=message):
        one_cycle(20).check_length(options, 9, loader)
    late = TrainerOptions(epochs=3, monitor="min loss", early_stop=5)
    with pytest.raises(UserError, match=message):
        one_cycle(20).check_length(late, 9, loader)


def test_a_schedule_that_may_fail_in_the_run_is_a_warning() -> None:
    """The run may stop early, or be shorter than the length that a loader estimates."""
    options = TrainerOptions(epochs=3, monitor="min loss", early_stop=1)
    assert "has 27 optimizer steps" in one_cycle(20).check_length(options, 9, DataLoader(range(9)))
    assert one_cycle(20).check_length(TrainerOptions(epochs=3), 9, [1] * 9) != ""
    assert one_cycle(30).check_length(TrainerOptions(epochs=3), 9, DataLoader(range(9))) != ""


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "CosineAnnealingLR", "args": {"T_max": 0}}, r"args\.T_max: 0 must be above 0"),
        ({"type": "StepLR", "args": {"step_size": 0}}, r"args\.step_size: 0 must be above 0"),
        (
            {"type": "CyclicLR", "args": {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 0}},
            "CyclicLR: float division by zero",
        ),
        (
            {"type": "OneCycleLR", "args": {"max_lr": math.inf, "total_steps": 24}},
            "lr=nan is not a finite number",
        ),
    ],
)
def test_a_schedule_that_cannot_work_is_one_line(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_trainer(small_config(tmp_path) | {"lr_scheduler": section})


def test_a_division_by_zero_inside_other_schedulers_is_one_line() -> None:
    optimizer = make_optimizer(1.0)
    periods = [schedulers.StepLR(optimizer, 0)]
    schedule = LRSchedule(schedulers.SequentialLR(optimizer, periods, []), optimizer)
    with pytest.raises(UserError, match=r"^lr_scheduler: SequentialLR: integer modulo by zero"):
        schedule.after_epoch({}, "")


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_a_learning_rate_that_is_not_finite_is_one_line(tmp_path: Path, name: str) -> None:
    optimizer = {"type": "SGD", "args": {"lr": 0.1} | {name: math.inf}}
    with pytest.raises(UserError, match=rf"optimizer\.args\.{name}: {name}=inf is not a finite"):
        make_trainer(small_config(tmp_path) | {"optimizer": optimizer})
