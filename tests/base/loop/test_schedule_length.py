"""Schedulers that hold others, and lengths that the config leaves out."""

from __future__ import annotations

import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from torch.optim import lr_scheduler as schedulers

from base.loop.lr_schedule import LRSchedule
from base.loop.nested_schedulers import ChainedScheduler, SequentialLR
from base.loop.schedule_length import find_mismatches
from base.loop.schedule_plan import make_lr_scheduler
from base.options import TrainerOptions
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.loop.schedules import COSINE, HALVED, LINEAR, hold, make_optimizer
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


def cosine(position: float, length: float) -> float:
    return (1 + math.cos(math.pi * position / length)) / 2


def make(tmp_path: Path, section: dict[str, Any], batches: int = 6, **options: Any) -> LRSchedule:
    """The schedule of a config whose epochs have ``batches`` batches, with a rate of 1."""
    config = ConfigParser(small_config(tmp_path, **options) | {"lr_scheduler": section})
    config.check(SCHEMA)
    optimizer = make_optimizer(1.0)
    scheduler = make_lr_scheduler(config, optimizer, range(batches))
    return LRSchedule(scheduler, optimizer, interval=options.get("lr_scheduler_interval"))


def list_rates(schedule: LRSchedule, count: int) -> list[float]:
    """The rates of the first ``count`` epochs or steps."""
    rates = []
    for _ in range(count):
        rates.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.lr_scheduler.step()
    return rates


# -- schedulers inside of others -----------------------------------------------------------------


@pytest.mark.parametrize("is_nested", [False, True])
def test_each_scheduler_of_a_sequence_fills_its_part_of_the_run(
    tmp_path: Path, is_nested: bool, caplog: pytest.LogCaptureFixture
) -> None:
    section = hold("SequentialLR", LINEAR, COSINE, milestones=[2])
    if is_nested:  # the second part has the same two schedulers once more
        section = hold("SequentialLR", section, section, milestones=[6])
    caplog.set_level(logging.INFO)
    once = [1 / 3, 2 / 3, *(cosine(i, 4) for i in range(4))]
    schedule = make(tmp_path, section, epochs=12 if is_nested else 6)
    assert list_rates(schedule, 12 if is_nested else 6) == pytest.approx(
        [*once, *once] if is_nested else once
    )
    assert "LinearLR.total_iters is 2 epochs, the length of its part of SequentialLR" in caplog.text


def test_a_chain_multiplies_factors_also_around_and_inside_of_a_sequence(tmp_path: Path) -> None:
    rates = [1 / 3, 2 / 3, *(cosine(i, 4) for i in range(4))]
    sequence = hold("SequentialLR", LINEAR, COSINE, milestones=[2])
    outside = make(tmp_path, hold("ChainedScheduler", HALVED, sequence), epochs=6)
    halved = [rate * (0.5 if i < 4 else 1) for i, rate in enumerate(rates)]
    assert list_rates(outside, 6) == pytest.approx(halved)
    chain = hold("ChainedScheduler", HALVED, {"type": "ExponentialLR", "args": {"gamma": 0.5}})
    inside = make(tmp_path, hold("SequentialLR", chain, chain, milestones=[3]), epochs=6)
    assert list_rates(inside, 6) == pytest.approx([0.5, 0.25, 0.125] * 2)


def test_schedulers_that_torch_can_nest_give_the_numbers_of_torch() -> None:
    def run(sequence: Any, chain: Any) -> list[float]:
        optimizer = make_optimizer(1.0)
        held = [
            schedulers.LinearLR(optimizer, total_iters=3),
            schedulers.CosineAnnealingWarmRestarts(optimizer, 2),
            schedulers.PolynomialLR(optimizer, 4),
        ]
        first = LRSchedule(sequence(optimizer, held, [3, 8]), optimizer)
        rates = list_rates(first, 12)
        optimizer = make_optimizer(1.0)
        held = [schedulers.ConstantLR(optimizer), schedulers.ExponentialLR(optimizer, 0.9)]
        return rates + list_rates(LRSchedule(chain(held), optimizer), 8)

    ours = run(SequentialLR, ChainedScheduler)
    assert ours == run(schedulers.SequentialLR, schedulers.ChainedScheduler)


def test_the_logged_rate_is_that_of_the_step_and_torch_warns_of_nothing(tmp_path: Path) -> None:
    section = hold("SequentialLR", LINEAR, hold("ChainedScheduler", COSINE, HALVED), milestones=[3])
    options = {"lr_scheduler_interval": "step", "warmup": {"steps": 3, "from": 0.1}}
    config = small_config(tmp_path, **options) | {"lr_scheduler": section}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        run = make_trainer(config)
        rates: list[float] = []
        run.optimizer.register_step_pre_hook(
            lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
        )
        run.train()
    lines = (run.config.log_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["lr"] for line in lines] == [rates[8], rates[17]]
    factors = [0.1 / 3, 0.55 * 5 / 9, 7 / 9]  # of the warm-up, and of LinearLR
    rest = [cosine(i, 15) * (0.5 if i < 4 else 1) for i in range(15)]
    assert rates == pytest.approx([0.01 * factor for factor in [*factors, *rest]])


# -- lengths that are left out -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "options", "name", "length"),
    [
        (COSINE, {"epochs": 5}, "T_max", 5),
        (COSINE, {"epochs": 5, "lr_scheduler_interval": "step"}, "T_max", 30),
        ({"type": "OneCycleLR", "args": {"max_lr": 1.0}}, {"accumulation_steps": 4}, "steps", 4),
        ({"type": "OneCycleLR", "args": {"max_lr": 1.0}}, {"len_epoch": 9}, "steps", 18),
        ({"type": "PolynomialLR"}, {"epochs": 7}, "total_iters", 7),
        (LINEAR, {"epochs": 7}, "total_iters", 5),  # torch's default, on purpose
        (
            {"type": "OneCycleLR", "args": {"max_lr": 1, "epochs": 3, "steps_per_epoch": 9}},
            {},
            "steps",
            27,
        ),
    ],
)
def test_a_length_that_is_left_out_is_that_of_the_run(
    tmp_path: Path, section: dict[str, Any], options: dict[str, Any], name: str, length: int
) -> None:
    scheduler = make(tmp_path, section, **options).lr_scheduler
    assert vars(scheduler)["total_steps" if name == "steps" else name] == length


def test_a_stream_of_unknown_length_needs_a_length_only_for_steps(tmp_path: Path) -> None:
    stream = object()
    config = ConfigParser(small_config(tmp_path, epochs=3) | {"lr_scheduler": COSINE})
    config.check(SCHEMA)
    assert make_lr_scheduler(config, make_optimizer(1.0), stream).T_max == 3
    config["trainer"]["lr_scheduler_interval"] = "step"
    with pytest.raises(UserError, match=r"^lr_scheduler.args: CosineAnnealingLR needs 'T_max'"):
        make_lr_scheduler(config, make_optimizer(1.0), stream)


def test_a_scheduler_for_another_length_than_its_part_is_described() -> None:
    def check(milestones: list[int], *held: Any) -> list[str]:
        sequence = SequentialLR(optimizer, list(held), milestones)
        return find_mismatches(sequence, "epoch", TrainerOptions(epochs=6), 3, is_exact=True)

    optimizer = make_optimizer(1.0)
    linear = schedulers.LinearLR(optimizer)
    text = "CosineAnnealingLR is set up for T_max=3, but its part of SequentialLR has 4 epochs"
    assert check([2], linear, schedulers.CosineAnnealingLR(optimizer, 3)) == [text]
    assert check([2], linear, schedulers.CosineAnnealingLR(optimizer, 4)) == []
    text = "SequentialLR never reaches its last milestone, 6: the run has 6 epochs"
    assert check([6], linear, schedulers.CosineAnnealingLR(optimizer, 4)) == [text]
    with pytest.raises(UserError, match=r"total_steps=3, .* has 4 epochs, and it fails after 3$"):
        check([2], linear, schedulers.OneCycleLR(optimizer, 1.0, total_steps=3))
