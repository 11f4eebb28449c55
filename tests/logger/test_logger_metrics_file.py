"""metrics.jsonl."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from logger.metrics_file import MetricsFile


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def three_epochs(tmp_path: Path) -> MetricsFile:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3):
        file.write({"epoch": epoch, "loss": 1 / epoch})
    return file


def test_every_epoch_is_one_line(three_epochs: MetricsFile) -> None:
    assert lines(three_epochs.path) == [
        {"epoch": 1, "loss": 1.0},
        {"epoch": 2, "loss": 0.5},
        {"epoch": 3, "loss": 1 / 3},
    ]


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({"epoch": 1, "a": nan, "b": inf, "c": -inf, "d": "nan", "e": 0})
    text = file.path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "epoch": 1,
        "a": None,
        "b": None,
        "c": None,
        "d": "nan",
        "e": 0,
    }


def test_other_values_are_written_as_text(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({"epoch": 1, "path": Path("a/b"), "curve": [1, 2]})
    assert lines(file.path) == [{"epoch": 1, "path": "a/b", "curve": [1, 2]}]


@pytest.mark.parametrize(
    ("epoch", "epochs"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])]
)
def test_the_lines_after_an_epoch_are_dropped(
    three_epochs: MetricsFile, epoch: int, epochs: list[int]
) -> None:
    three_epochs.drop_after(epoch)
    assert [line["epoch"] for line in lines(three_epochs.path)] == epochs


@pytest.mark.parametrize(
    "torn", ['{"epoch": 2, "lo', '{"epoch": 2', "{", '{"loss": 1}', '{"epoch": null}', "\0\0", "5"]
)
def test_a_torn_line_is_dropped_and_the_next_one_is_complete(
    three_epochs: MetricsFile, torn: str
) -> None:
    with three_epochs.path.open("a", encoding="utf-8") as file:
        file.write(torn)
    three_epochs.drop_after(2)
    three_epochs.write({"epoch": 3, "loss": 7.0})
    assert [line["epoch"] for line in lines(three_epochs.path)] == [1, 2, 3]
    assert lines(three_epochs.path)[-1]["loss"] == 7.0


def test_dropping_leaves_no_temporary_file(three_epochs: MetricsFile) -> None:
    three_epochs.drop_after(1)
    assert [path.name for path in three_epochs.path.parent.iterdir()] == ["metrics.jsonl"]


def test_dropping_from_a_missing_file_does_nothing(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.jsonl").drop_after(1)
    assert list(tmp_path.iterdir()) == []
