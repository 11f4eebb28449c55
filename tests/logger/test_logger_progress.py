"""Progress, and the line of an epoch."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import pytest

from logger.progress import epoch_line, progress, set_view

LOGGER = logging.getLogger("probe.progress")


@pytest.fixture(autouse=True)
def _log_info(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress needs a logger at INFO, whatever other tests have left at the root."""
    monkeypatch.setattr(LOGGER, "level", logging.INFO)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test moves."""
    hand = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: hand.now)
    return hand


def taking(seconds: float, n: int, clock: SimpleNamespace) -> Iterator[int]:
    for number in range(n):
        clock.now += seconds
        yield number


def shown(
    caplog: pytest.LogCaptureFixture, batches: Any, total: int | None, title: str, status: Any = str
) -> list[str]:
    with caplog.at_level(logging.INFO, LOGGER.name):
        list(progress(batches, total, title, LOGGER, status))
    return [record.getMessage() for record in caplog.records]


def test_without_a_terminal_a_quick_epoch_logs_nothing(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(caplog, taking(0.001, 1000, clock), 1000, "epoch 1/2") == []
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_a_slow_epoch_logs_a_line_every_ten_seconds(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    lines = shown(caplog, taking(1.0, 30, clock), 30, "epoch 1/2", status=lambda: "loss 0.5")
    assert lines == [
        "epoch 1/2  9/30 (30 %)  loss 0.5",
        "epoch 1/2  19/30 (63 %)  loss 0.5",
        "epoch 1/2  29/30 (96 %)  loss 0.5",
    ]


def test_without_a_length_only_the_count_is_shown(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    assert shown(caplog, taking(6.0, 2, clock), None, "test") == ["test  1  "]


def test_the_status_is_computed_only_when_it_is_shown(clock: SimpleNamespace) -> None:
    calls: list[int] = []

    def status() -> str:
        calls.append(1)
        return ""

    list(progress(taking(0.1, 150, clock), 150, "t", LOGGER, status))
    assert len(calls) == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_batches_are_fetched_one_by_one(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    fetched: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(3):
            fetched.append(number)
            yield number

    for expected, batch in enumerate(progress(batches(), 3, "t", LOGGER)):
        assert batch == expected
        assert fetched == list(range(expected + 1))  # none ahead


def test_on_a_terminal_there_is_one_bar_that_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(5), 5, "epoch 1/2", LOGGER, lambda: "loss 0.5")) == list(range(5))
    text = terminal.getvalue()
    assert "epoch 1/2" in text
    assert "\n" not in text
    assert text.rstrip("\r").endswith(" ")  # wiped


def test_a_loop_may_stop_early(clock: SimpleNamespace) -> None:
    batches = progress(taking(0.1, 10, clock), 10, "t", LOGGER)
    next(batches)
    batches.close()  # type: ignore[attr-defined]


# -- the line of an epoch -------------------------------------------------------------------------


def test_an_epoch_is_one_line() -> None:
    log = {"epoch": 3, "loss": 0.51234, "val_accuracy": 1.0}
    assert (
        epoch_line(log, 15, 1.26, best=True)
        == "epoch  3/15  loss 0.5123  val_accuracy 1.0000  1.3 s  * best"
    )
    assert (
        epoch_line(log, 5, 0.0, best=False) == "epoch 3/5  loss 0.5123  val_accuracy 1.0000  0.0 s"
    )


def test_the_columns_align() -> None:
    lines = [
        epoch_line({"epoch": epoch, "loss": loss}, 100, 1.0, False)
        for epoch, loss in ((1, 0.1), (100, 2.0))
    ]
    assert lines[0].index("loss") == lines[1].index("loss")
    assert len(lines[0]) == len(lines[1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.001, "0.0010"),
        (0.00099, "9.900e-04"),
        (9999.9, "9999.9000"),
        (12345.0, "1.234e+04"),
        (-3.5, "-3.5000"),
        (nan, "nan"),
        (inf, "inf"),
        (7, "7"),
    ],
)
def test_numbers_are_short_and_of_any_size(value: float, text: str) -> None:
    assert epoch_line({"epoch": 1, "x": value}, 1, 0.0, False) == f"epoch 1/1  x {text}  0.0 s"


def test_other_values_are_shortened_to_one_line() -> None:
    line = epoch_line({"epoch": 1, "table": "a\nb" + "c" * 500}, 1, 0.0, False)
    assert "\n" not in line
    assert len(line) < 100


def test_a_notebook_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = SimpleNamespace(kernel=None)  # its standard error is no terminal
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert list(progress(iter([1, 2, 3]), 3, "epoch 1/2", LOGGER)) == [1, 2, 3]
    assert "epoch 1/2" in capsys.readouterr().err


class FakeView:
    """Keeps what it is asked to show."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def is_due(self) -> bool:
        return True

    def show_progress(self, text: str) -> None:
        self.texts.append(text)

    def show_epochs(self, history: Any) -> None:
        raise NotImplementedError

    def show_lines(self, lines: Any) -> bool:
        return False


@pytest.fixture
def view() -> Iterator[FakeView]:
    fake = FakeView()
    set_view(fake)
    yield fake
    set_view(None)


def test_a_view_shows_the_progress_and_is_cleared_at_the_end(
    view: FakeView, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(caplog, iter("abc"), 4, "epoch 1/2", status=lambda: "loss 0.5") == []
    assert view.texts == [
        "epoch 1/2  0/4 (0 %)  loss 0.5",
        "epoch 1/2  1/4 (25 %)  loss 0.5",
        "epoch 1/2  2/4 (50 %)  loss 0.5",
        "",
    ]
    assert capsys.readouterr() == ("", "")


def test_a_view_is_cleared_if_the_loop_is_left(view: FakeView) -> None:
    batches = progress(iter("abc"), 3, "epoch 1/2", LOGGER)
    next(batches)
    batches.close()
    assert view.texts[-1] == ""
