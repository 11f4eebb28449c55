"""The numbers of single steps are written now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import nan
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.lr_schedule import LRSchedule
from base.loop.metrics import MetricSet
from base.loop.progress import Progress
from base.loop.step_writer import StepWriter, peak_memory_mb
from base.loop.update import Update
from base.options import TrainerOptions
from utils.errors import UserError
from utils.numbers import make_tags

CPU = torch.device("cpu")


class Recorder:
    """Keeps what is written: by step, the values by name."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}

    def set_step(self, step: int) -> None:
        self.values = self.steps[step] = {}

    def add_scalar(self, name: str, value: Any) -> None:
        self.values[name] = float(value)


def test_the_means_of_an_epoch_are_written_at_its_last_step() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    progress = Progress()
    update = Update(nn.ParameterList([weight]), optimizer, TrainerOptions(epochs=1), CPU)
    update.progress = progress
    progress.step = 18
    recorder = Recorder()
    StepWriter(recorder, update, CPU).write_means({"loss": 0.5, "accuracy": 0.75})
    assert recorder.steps == {18: {"accuracy": 0.75}}


def test_numbers_that_are_counted_are_one_group_for_the_trackers() -> None:
    names = ["loss", *(f"ema_mae_{step}" for step in range(1, 13)), "map_50", "map_75"]
    expected = {f"ema_mae_{step}": f"ema_mae/{step}" for step in range(1, 13)}
    assert make_tags(names) == {name: expected.get(name, name) for name in names}
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    update = Update(nn.ParameterList([weight]), optimizer, TrainerOptions(epochs=1), CPU)
    recorder = Recorder()
    recorder.set_step(1)
    log = dict.fromkeys(names, 0.5)
    assert StepWriter(recorder, update, CPU).write(log) == log
    assert list(recorder.values) == list(make_tags(names).values())


class Training:
    """Trains a weight with two parameter groups, batch by batch, while a clock runs.

    Args:
        set_clock: sets the time in seconds.
        seconds: that each batch takes.
        options: of the trainer.
    """

    def __init__(
        self, set_clock: Callable[[float], None], seconds: float = 0.0, **options: Any
    ) -> None:
        self.set_clock, self.seconds = set_clock, seconds
        self.now = 100.0
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(2)])
        groups = [{"params": [self.weights[0]]}, {"params": [self.weights[1]], "lr": 0.25}]
        optimizer = torch.optim.SGD(groups, lr=0.5)
        update_options = TrainerOptions(epochs=1, **options)
        self.update = Update(self.weights, optimizer, update_options, CPU, progress=Progress())
        self.recorder = Recorder()
        self.writer = StepWriter(self.recorder, self.update, CPU)
        self.metrics = MetricSet([])

    def run(self, batches: int, loss: float = 0.0) -> dict[int, dict[str, float]]:
        """Trains an epoch of batches of 10 samples; returns what was written."""
        self.metrics.reset()
        for batch in range(1, batches + 1):
            self.now += self.seconds
            self.set_clock(self.now)
            self.writer.begin_batch(batch)
            value = sum(3 * weight.sum() for weight in self.weights) + loss
            self.update.backward(value)
            self.metrics.add_batch(value, None, torch.zeros(10))
            if self.update.step() and self.writer.is_due:
                self.writer.after_step(value, self.metrics)
        return self.recorder.steps


@pytest.fixture
def make_training(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Training]:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return lambda **kwargs: Training(lambda now: clock.__setitem__(0, now), **kwargs)


def test_the_first_step_of_an_epoch_is_written_with_all_its_numbers(
    make_training: Callable[..., Training],
) -> None:
    ((step, values),) = make_training().run(20, loss=7.0).items()
    assert step == 1
    memory = values.pop("memory_mb")
    assert memory == pytest.approx(peak_memory_mb(CPU), rel=0.5)
    assert values == {
        "loss": 7.0,
        "lr": 0.5,
        "lr_1": 0.25,
        "grad_norm": pytest.approx(18**0.5),  # not clipped, but measured for this
    }


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (0.1, [1, 51, 101]),
        (0.001, [1]),  # less than 0.2 s after the last time
        (0.003, [1, 101]),
    ],
)
def test_later_steps_are_written_neither_too_often_nor_too_soon(
    make_training: Callable[..., Training], seconds: float, steps: list[int]
) -> None:
    assert list(make_training(seconds=seconds).run(120)) == steps


def test_the_learning_rate_is_that_of_the_warm_up(make_training: Callable[..., Training]) -> None:
    found = make_training(seconds=0.1, warmup_steps=100).run(60)
    assert [values["lr"] for values in found.values()] == pytest.approx([0.005, 0.255])
    assert [values["lr_1"] for values in found.values()] == pytest.approx([0.0025, 0.1275])


def test_the_learning_rate_is_that_of_the_step_and_not_of_the_next(
    make_training: Callable[..., Training],
) -> None:
    training = make_training()
    optimizer = training.update.optimizer
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    training.update.schedule = LRSchedule(scheduler, optimizer, interval="step")
    (values,) = training.run(1).values()
    assert (values["lr"], values["lr_1"]) == (0.5, 0.25)


def test_the_speed_is_that_of_one_epoch(make_training: Callable[..., Training]) -> None:
    training = make_training(seconds=0.1)
    training.run(60)
    training.now += 1000.0  # a validation
    found = training.run(60)
    speeds = [values.get("samples_per_sec") for values in found.values()]
    assert list(found) == [1, 51, 61, 111]
    assert speeds == [None, pytest.approx(100.0), None, pytest.approx(100.0)]


def test_a_window_is_written_when_its_step_is_done(make_training: Callable[..., Training]) -> None:
    training = make_training(seconds=0.1, accumulation_steps=4)
    training.run(3)
    assert training.recorder.steps == {}
    assert training.writer.is_due
    training.run(1)
    assert list(training.recorder.steps) == [1]
    assert not training.writer.is_due


def test_the_norm_before_clipping_is_written(make_training: Callable[..., Training]) -> None:
    found = make_training(grad_clip_norm=0.5).run(1)
    assert found[1]["grad_norm"] == pytest.approx(18**0.5)


def test_a_loss_that_is_not_finite_is_not_written(make_training: Callable[..., Training]) -> None:
    """On an accelerator it is only found here."""
    training = make_training()
    training.update = training.writer.update = Update(
        training.weights,
        training.update.optimizer,
        TrainerOptions(epochs=1),
        torch.device("cuda"),
        progress=Progress(),
    )
    with pytest.raises(UserError, match="the loss is nan"):
        training.run(1, loss=nan)
    assert training.recorder.steps == {}


def test_the_peak_of_memory_never_falls() -> None:
    before = peak_memory_mb(CPU)
    grown = torch.ones(40_000_000)  # 160 MB
    after = peak_memory_mb(CPU)
    del grown
    assert 0 < before <= after == peak_memory_mb(CPU) < 1e6
