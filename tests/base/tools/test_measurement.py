"""``--check`` writes the times of a run for a program that plans many runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from base.tools.measurement import VARIABLE, Measurement
from tests.base.tools.programs import Ended

Check = Callable[..., Ended]


@pytest.fixture
def measure(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Measurement]:
    """Runs a check with changes, and returns what it has measured."""

    def call(*words: str) -> Measurement:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "measurement.json"))
        assert check(*words).status == 0
        return Measurement.read(tmp_path / "measurement.json")

    return call


def test_what_a_run_consists_of_is_counted_and_timed(measure: Callable[..., Measurement]) -> None:
    before = time.time()
    found = measure("trainer.save_period=2")
    assert (found.batches, found.epochs, found.validations, found.saves) == (9, 3, 3, 2)
    assert before < found.started < time.time()
    times = (found.batch_seconds, found.validation_seconds, found.save_seconds)
    assert all(0 < seconds < 60 for seconds in times)
    total = 27 * times[0] + 3 * times[1] + 2 * times[2]
    assert found.seconds == pytest.approx(total)


def test_a_limit_of_steps_ends_the_run_sooner(measure: Callable[..., Measurement]) -> None:
    found = measure("trainer.max_steps=4", "trainer.validate_steps=2")
    assert (found.batches, found.epochs, found.validations) == (4, 1, 3)


def test_cached_features_are_computed_in_one_pass(measure: Callable[..., Measurement]) -> None:
    found = measure("transfer={freeze: all_but_head, cache_features: true}")
    assert (found.epochs, found.is_cached) == (3, True)
    total = 9 * found.batch_seconds + found.validation_seconds + 3 * found.save_seconds
    assert found.seconds == pytest.approx(total)


def test_data_without_a_length_gives_no_time(measure: Callable[..., Measurement]) -> None:
    loader = "data_loader={type: DatasetLoader, args: {dataset: {type: probe.Endless}}}"
    found = measure(loader)
    assert found.batches is None
    assert found.seconds is None


def test_without_the_variable_a_check_measures_nothing_more(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Measurement, "write", lambda *_: pytest.fail("it has written"))
    assert check().status == 0
