"""The device benchmarks run everywhere: tiny on a CPU, without a claim about any figure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.benchmarks.device import main
from tests.benchmarks.device_report import ORDER, show, summarize
from tests.benchmarks.table import is_installed
from tests.helpers import run


def test_every_arm_trains_on_pictures_and_is_reported(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main("cpu", ["--case", "resnet18_32", "--json", str(file)]) == 0
    results, output = json.loads(file.read_text()), capsys.readouterr().out
    assert not results["failed"]
    assert not results["skipped"]
    installed = [arm for arm in ORDER if is_installed(arm)]
    assert [*results["summary"]["resnet18_32"]] == installed
    assert {*results["missing"]} == {*ORDER} - {*installed}
    for row in results["rows"]:
        assert row["seconds"] > 0
        assert row["steps"] > 0
        assert row["peak_mb"] > 0
    measured = [(row["arm"], row["word"]) for row in results["rows"]]
    assert ("ours", "resident") in measured
    assert ("limit", "resident") in measured
    for arm in installed:
        assert f"\n| {arm} | " in output
    for arm in results["missing"]:
        assert f"{arm}: left out" in output


@pytest.mark.slow
def test_every_case_trains(tmp_path):
    file = tmp_path / "figures.json"
    cases = ["--case", "resnet18_224", "--case", "transformer", "--case", "mlp", "--case", "start"]
    options = ["--seconds", "1000", "--at-once", "--json", file]
    finished = run("-m", "tests.benchmarks", "--device", "cpu", *cases, *options, timeout=600)
    assert finished.returncode == 0, finished.stderr
    results = json.loads(file.read_text())
    assert [*results["summary"]] == cases[1::2]
    assert all(results["summary"].values())


def test_an_arm_that_fails_is_named_and_the_figures_are_written(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main("nonsense", ["--case", "mlp", "--arm", "plain", "--json", str(file)]) == 1
    assert "mlp: plain failed: it ended: RuntimeError: " in capsys.readouterr().err
    assert "nonsense" in json.loads(file.read_text())["failed"]["mlp plain"]


def make_row(arm: str, word: str, seconds: float, gap_ms: float, round_number: int) -> Any:
    row = {"case": "resnet18_32", "arm": arm, "word": word, "round": round_number, "steps": 10}
    return row | {"seconds": seconds, "gap_ms": gap_ms, "peak_mb": 100.0}


def test_the_wait_for_data_is_what_resident_batches_save(capsys):
    rows = [
        make_row("ours", "loader", 2.0, 3.0, 1),
        make_row("ours", "resident", 1.5, 1.0, 1),
        make_row("limit", "loader", 1.0, 2.0, 1),
        make_row("limit", "resident", 1.0, 2.0, 1),
        make_row("limit", "loader", 1.25, 2.0, 2),  # the budget ended before its second half
    ]
    summary = summarize("resnet18_32", rows)
    assert [*summary] == ["limit", "ours"]
    assert summary["ours"]["waits"] == [0.25]
    assert summary["ours"]["gaps_ms"] == [(3.0, 1.0)]
    assert summary["limit"]["figures"] == [10.0, 8.0]
    assert summary["limit"]["waits"] == [0.0]
    show("resnet18_32", summary)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "| ours | 5 | 5 to 5 | 0.56 | 100 | 25.0 % | 3.00, 1.00 |"
