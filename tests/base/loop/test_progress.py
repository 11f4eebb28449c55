"""Where a run is, and how good it is."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest

from base.loop.progress import Monitor, Progress, Verdict, is_better


def follow(monitor: Monitor, values: list[float]) -> list[Verdict]:
    """The verdicts on epochs with these values of ``x``, counted from 1."""
    return [monitor.update({"epoch": n, "x": value}) for n, value in enumerate(values, 1)]


# -- Progress -------------------------------------------------------------------------------------


def test_a_run_begins_before_the_first_batch_of_epoch_one() -> None:
    assert Progress() == Progress(epoch=1, batch=0, step=0)


def test_finishing_an_epoch_moves_to_the_start_of_the_next_and_keeps_the_steps() -> None:
    progress = Progress(epoch=3, batch=7, step=21)
    progress.finish_epoch(3)
    assert progress == Progress(epoch=4, batch=0, step=21)
    progress.finish_epoch(3)  # a checkpoint may be asked for twice
    assert progress == Progress(epoch=4, batch=0, step=21)


def test_without_counted_steps_the_batches_of_a_run_count() -> None:
    assert Progress().count_steps(9) == 0
    assert Progress(epoch=3, batch=7).count_steps(9) == 25
    assert Progress(epoch=3).count_steps(None) == 0  # of unknown length
    assert Progress(epoch=3, batch=7, step=12).count_steps(9) == 12


# -- what is better -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "value", "best", "expected"),
    [
        ("min", 1.0, 2.0, True),
        ("min", 2.0, 1.0, False),
        ("max", 2.0, 1.0, True),
        ("max", 1.0, 2.0, False),
        ("min", 1.0, 1.0, False),
        ("max", 1.0, 1.0, False),
        ("min", nan, inf, False),
        ("max", nan, -inf, False),
        ("min", -inf, 0.0, True),
    ],
)
def test_better_is_strictly_better_and_nan_never(
    mode: str, value: float, best: float, expected: bool
) -> None:
    assert is_better(mode, value, best) is expected


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [-1e30, 0.0, 1e30])
def test_the_first_number_is_the_best_so_far(mode: str, value: float) -> None:
    monitor = Monitor(mode, "x")
    assert follow(monitor, [value]) == [Verdict(is_best=True, is_kept=True, stop=False)]
    assert monitor.best == value


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_value_that_is_not_finite_is_never_the_best(mode: str, bad: float) -> None:
    monitor = Monitor(mode, "x", keep_best=3)
    verdicts = follow(monitor, [bad, 1.0, bad])
    assert [(verdict.is_best, verdict.is_kept) for verdict in verdicts] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    assert monitor.best == 1.0
    assert monitor.best_epochs == [(1.0, 2)]
    assert monitor.not_improved_count == 1  # it counts as an epoch without improvement


# -- patience -------------------------------------------------------------------------------------


def test_training_stops_after_more_epochs_without_improvement_than_the_patience() -> None:
    monitor = Monitor("min", "x", patience=2)
    verdicts = follow(monitor, [3.0, 2.0, 2.0, 1.0, 5.0, nan, 1.0])
    assert [verdict.stop for verdict in verdicts] == [False] * 6 + [True]
    assert [verdict.is_best for verdict in verdicts] == [True, True, False, True] + [False] * 3
    assert monitor.is_exhausted


def test_without_patience_training_never_stops() -> None:
    assert not any(verdict.stop for verdict in follow(Monitor("max", "x"), [1.0] * 50))


def test_an_epoch_without_the_number_changes_nothing() -> None:
    monitor = Monitor("max", "x", patience=1)
    follow(monitor, [1.0, 0.5])
    before = monitor.state_dict()
    assert monitor.update({"epoch": 3, "loss": 0.1}) == Verdict(False, False, stop=False)
    assert monitor.state_dict() == before


def test_a_monitor_that_is_off_follows_nothing() -> None:
    monitor = Monitor("off", "")
    assert not monitor.is_on
    assert monitor.update({"epoch": 1, "": 3.0, "x": 3.0}) == Verdict(False, False, stop=False)
    assert (monitor.best, monitor.not_improved_count, monitor.best_epochs) == (0.0, 0, [])


# -- the best epochs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "values", "kept", "ranking"),
    [
        ("min", [5.0, 3.0, 4.0, 1.0, 9.0], [1, 2, 3, 4], [(1.0, 4), (3.0, 2), (4.0, 3)]),
        ("max", [5.0, 3.0, 4.0, 1.0, 9.0], [1, 2, 3, 5], [(9.0, 5), (5.0, 1), (4.0, 3)]),
        # of equal values the earlier epoch ranks higher
        ("min", [2.0, 2.0, 2.0, 2.0, 1.0], [1, 2, 3, 5], [(1.0, 5), (2.0, 1), (2.0, 2)]),
        ("max", [1.0, nan, 2.0, -inf, 3.0], [1, 3, 5], [(3.0, 5), (2.0, 3), (1.0, 1)]),
    ],
)
def test_the_best_epochs_are_ranked(
    mode: str, values: list[float], kept: list[int], ranking: list[tuple[float, int]]
) -> None:
    monitor = Monitor(mode, "x", keep_best=3)
    verdicts = follow(monitor, values)
    assert [epoch for epoch, verdict in enumerate(verdicts, 1) if verdict.is_kept] == kept
    assert monitor.best_epochs == ranking
    assert monitor.list_best_epochs() == [epoch for _, epoch in ranking]
    assert monitor.best == ranking[0][0]


def test_only_the_best_epoch_is_kept_by_default() -> None:
    monitor = Monitor("max", "x")
    verdicts = follow(monitor, [1.0, 2.0, 2.0, 1.5])
    assert [verdict.is_kept for verdict in verdicts] == [True, True, False, False]
    assert monitor.best_epochs == [(2.0, 2)]


# -- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max", "off"])
def test_a_monitor_continues_from_its_state(mode: str) -> None:
    values = [3.0, 1.0, 2.0, nan, 2.5, 0.5, 4.0]
    for stop in range(len(values)):
        full, first, second = (Monitor(mode, "x", 2, keep_best=2) for _ in range(3))
        verdicts = follow(full, values)
        follow(first, values[:stop])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))  # plain values only
        rest = [second.update({"epoch": n + 1, "x": values[n]}) for n in range(stop, len(values))]
        assert rest == verdicts[stop:]
        assert second.state_dict() == full.state_dict()


@pytest.mark.parametrize(
    ("mode", "best", "expected"),
    [
        ("min", 0.25, [(0.25, 0)]),
        ("min", inf, []),  # it had not validated yet
        ("off", 0.0, []),
    ],
)
def test_a_file_of_pytorch_template_has_only_the_best_value(
    mode: str, best: float, expected: list[tuple[float, int]]
) -> None:
    state: dict[str, Any] = {"arch": "MnistModel", "epoch": 3, "monitor_best": best}
    monitor = Monitor(mode, "x", patience=1)
    monitor.not_improved_count = 5
    monitor.load_state_dict(state)
    assert (monitor.best, monitor.not_improved_count) == (best, 0)
    assert monitor.best_epochs == expected
    if best == 0.25:
        assert [verdict.is_best for verdict in follow(monitor, [0.3, 0.2])] == [False, True]
