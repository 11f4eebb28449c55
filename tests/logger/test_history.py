"""The table of a run's epochs."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path

import pytest

from logger.history import GAP, History

ROWS = [
    {"epoch": 1, "lr": 0.1, "loss": 2.0, "val_loss": 1.5, "step": 4, "seconds": 1.25},
    {"epoch": 2, "batch": 2, "lr": 0.1, "loss": 1.0, "val_loss": 0.5, "step": 6, "seconds": 1.0},
    {"epoch": 2, "lr": 0.1, "loss": None, "val_loss": 0.75, "step": 8, "seconds": 1.0},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "metrics.jsonl", ROWS)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_and_columns(path: Path) -> None:
    history = History(path, "min val_loss")
    assert len(history) == 3
    assert history[-1]["val_loss"] == 0.75
    assert history["val_loss"] == [1.5, 0.5, 0.75]
    assert [row["step"] for row in history] == [4, 6, 8]
    assert [row["epoch"] for row in history[1:]] == [2, 2]
    assert history.best == ROWS[1]


def test_a_number_that_a_row_lacks_is_nan(path: Path) -> None:
    history = History(path)
    assert isnan(history["loss"][2])
    assert isnan(history["batch"][0])
    assert history.best is None


def test_an_unknown_column_names_the_others(path: Path) -> None:
    with pytest.raises(KeyError, match="no 'val_los'; the columns are: epoch, lr, loss, val_loss"):
        History(path)["val_los"]


def test_the_text_is_aligned_and_marks_the_best(path: Path) -> None:
    assert repr(History(path, "min val_loss")).splitlines() == [
        "epoch  batch  loss    val_loss  lr      seconds",
        "1             2.0000  1.5000    0.1000  1.2",
        "2      2      1.0000  0.5000    0.1000  1.0      * best",
        "2                     0.7500    0.1000  1.0",
    ]


def test_a_long_history_shows_its_ends_and_the_best(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"epoch": n, "loss": abs(n - 40)} for n in range(1, 101)]
    history = History(write(tmp_path / "metrics.jsonl", rows), "min loss")
    shown = [row[0] for row in history.make_table(max_rows=5)]
    assert shown == ["epoch", "1", GAP, "40", GAP, "98", "99", "100"]
    assert len(history) == 100


def test_the_html_escapes_names_and_refers_to_nothing(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"epoch": 1, "<b>": 1.0}]
    html = History(write(tmp_path / "metrics.jsonl", rows))._repr_html_()
    assert "&lt;b&gt;" in html
    assert "http" not in html
    assert "<script" not in html


def test_before_the_first_epoch_there_is_a_sentence(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.jsonl")
    assert len(history) == 0
    assert repr(history) == history._repr_html_() == "No epoch has ended yet."


def test_counted_numbers_are_no_columns_of_a_table(tmp_path: Path) -> None:
    row: dict[str, object] = {"epoch": 1, "mae": 1.0, "mae_1": 1.0, "mae_2": 1.0, "mae_3": 1.0}
    history = History(write(tmp_path / "metrics.jsonl", [row]))
    assert history.make_table()[0] == ("epoch", "mae", "")
    assert history["mae_3"] == [1.0]
