"""Who tells the result of a test."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from base import features
from base.loop import reporter as reporters  # pytest would collect its classes
from base.loop.metrics import MetricSet
from base.loop.reporter import Reporter, make_reporters
from base.tools.report import Report


@pytest.fixture
def result() -> Any:
    checkpoint = Path("saved/run/model_best.pt")
    model = nn.Linear(1, 1)
    subject = reporters.TestSubject(model, None, [], None, checkpoint, 3, "weights", "test data")
    values = {"loss": 0.25, "accuracy": 2 / 3}
    return reporters.TestResult(subject, [reporters.SetResult("", [], values, MetricSet([]), 9)])


def test_the_numbers_are_in_the_log(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Reporter().report(result, None, logging.getLogger("test"))
    lines = [record.getMessage().split() for record in caplog.records]
    assert lines == [["loss", "0.25"], ["accuracy", "0.666667"]]


def test_the_folder_is_that_of_the_checkpoint(result: Any) -> None:
    assert result.subject.folder == Path("saved/run")


def test_registered_reporters_replace_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "result.json"
    assert [type(reporter) for reporter in make_reporters(output)] == [Report]
    monkeypatch.delattr(features, "Report")
    (reporter,) = make_reporters(output)
    assert (type(reporter), reporter.output) == (Reporter, output)
