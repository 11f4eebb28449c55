"""The table that grows in a cell, with a display that keeps what it shows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython.display
import pytest

from base.notebook.live import LiveTable
from logger.history import History


class Screen:
    """Stands for the outputs of a notebook, each with the contents that it has had."""

    def __init__(self) -> None:
        self.outputs: list[list[str]] = []
        self.now = 0.0
        self.shell = SimpleNamespace(execution_count=1, events=self)

    def register(self, event: str, function: Any) -> None:
        assert event == "post_run_cell"
        self.end_cell = function

    def display(self, content: dict[str, str], **_: Any) -> Any:
        output = [content["text/plain"]]
        self.outputs.append(output)
        return SimpleNamespace(update=lambda new, raw: output.append(new["text/plain"]))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    found = Screen()
    monkeypatch.setattr(IPython.display, "display", found.display)
    monkeypatch.setattr(time, "monotonic", lambda: found.now)
    return found


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "metrics.jsonl")


def add_epoch(history: History) -> History:
    with history.path.open("a") as file:
        file.write(json.dumps({"epoch": len(history) + 1}) + "\n")
    return history


def test_the_epochs_of_a_cell_are_one_output(screen: Screen, history: History) -> None:
    table = LiveTable(screen.shell)
    for _ in range(3):
        table.show_epochs(add_epoch(history))
    screen.end_cell()
    (output,) = screen.outputs
    assert [text.split() for text in output] == [["epoch", "1"], ["epoch", "1", "2", "3"]]


def test_an_update_waits_until_it_is_due(screen: Screen, history: History) -> None:
    table = LiveTable(screen.shell)
    table.show_epochs(add_epoch(history))
    assert not table.is_due()
    screen.now += 1
    assert table.is_due()
    table.show_epochs(add_epoch(history))
    assert len(screen.outputs[0]) == 2


def test_slow_updates_are_rare(screen: Screen, history: History) -> None:
    table = LiveTable(screen.shell)
    make_table = history.make_table

    def make_slowly(max_rows: int) -> list[tuple[str, ...]]:
        screen.now += 0.5
        return make_table(max_rows)

    history.make_table = make_slowly  # type: ignore[method-assign]
    table.show_epochs(add_epoch(history))
    screen.now += 9
    assert not table.is_due()
    screen.now += 1
    assert table.is_due()


def test_the_progress_stands_above_the_table_and_goes(screen: Screen, history: History) -> None:
    table = LiveTable(screen.shell)
    table.show_epochs(add_epoch(history))
    table.show_progress("epoch 2/2  1/9")
    assert screen.outputs[0][-1].startswith("epoch 2/2  1/9\nepoch")
    table.show_progress("")
    screen.end_cell()
    assert screen.outputs[0][-1].split() == ["epoch", "1"]


def test_a_quick_evaluation_shows_nothing(screen: Screen) -> None:
    table = LiveTable(screen.shell)
    screen.now = 100.0
    assert not table.is_due()
    table.show_progress("")
    screen.end_cell()
    assert screen.outputs == []


def test_another_run_and_another_cell_have_their_outputs(
    screen: Screen, history: History, tmp_path: Path
) -> None:
    table = LiveTable(screen.shell)
    table.show_epochs(add_epoch(history))
    table.show_epochs(add_epoch(History(tmp_path / "other.jsonl")))
    screen.end_cell()
    screen.shell.execution_count = 2
    table.show_epochs(add_epoch(history))
    assert len(screen.outputs) == 3


def test_a_long_message_is_folded(screen: Screen) -> None:
    table = LiveTable(screen.shell)
    assert not table.show_lines(["a", "b"])
    assert table.show_lines(["Net(", *["layer"] * 20, ")", "Trainable parameters: 9"])
    assert screen.outputs == [["Net( … Trainable parameters: 9"]]
