"""The tests for accelerators on a machine without one: skipped, or with the CPU in its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.accelerator.results import NEVER, ROW, list_names, make_rows
from tests.forked import run_forked
from tests.helpers import ROOT, copy_project

FOLDER = "tests/accelerator"
BROKEN = """
import os

def test_that_fails() -> None:
    assert "this line" == "of the traceback"

def test_that_kills_its_process() -> None:
    os.abort()

def test_after_both() -> None:
    pass
"""
CHOSEN = ("failures", "waits", "precision")  # of the files, in a copy where the first is BROKEN


def test_without_an_accelerator_everything_is_skipped() -> None:
    ended = run_forked("-m", "pytest", FOLDER, "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout
    assert "no accelerator on this machine" in ended.stdout
    last_line = ended.stdout.splitlines()[-1]
    assert re.search(r"^\d+ skipped(, \d+ warnings?)? in", last_line), ended.stdout


def test_the_one_call_goes_on_after_failures_and_collects_everything(tmp_path: Path) -> None:
    """With the CPU in place of the device, and a share of the tests."""
    project = copy_project(tmp_path / "project")
    files = [f"{FOLDER}/test_accelerator_{name}.py" for name in CHOSEN]
    (project / files[0]).write_text(BROKEN)
    (project / "tests/benchmarks/__main__.py").write_text("import sys; sys.exit('no figures')")
    out = tmp_path / "out"
    ended = subprocess.run(
        ["bash", f"{FOLDER}/run.sh", out, "--tests", *files],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "ACCELERATOR_STAND_IN": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    found = json.loads((out / "results.json").read_text())
    results = {result["name"].partition("::test_")[2]: result for result in found["tests"]}
    failed = {
        name: result["text"] for name, result in results.items() if result["outcome"] != "passed"
    }
    assert failed.keys() == {"that_fails", "that_kills_its_process"}
    assert 'assert "this line" == "of the traceback"' in failed["that_fails"]
    assert "ended with status -6" in failed["that_kills_its_process"]
    assert "in test_that_kills_its_process" in failed["that_kills_its_process"]
    assert results["no_step_waits_for_the_device[plain]"]["seconds"] > 0
    assert {"after_both", "fp16_and_bf16_train_with_weights_in_fp32[bf16]"} <= results.keys()
    assert (found["benchmarks"]["status"], found["benchmarks"]["output"]) == (1, "no figures\n")
    assert {"torch", "card", "driver", "cuda", "cudnn", "commit", "date"} <= found["machine"].keys()
    text = (out / "results.txt").read_text()
    assert ended.stdout.strip() == text.strip()
    assert "| no step waits for the device | cpu" in text
    assert sorted(path.name for path in out.iterdir()) == ["results.json", "results.txt"]


def test_the_table_of_what_ran_where_has_a_row_for_each_test() -> None:
    readme = (ROOT / FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name, _, _ in ROW.findall(readme)] == list_names()


def test_results_of_a_device_come_into_the_table() -> None:
    names = list_names()
    tests = [("passed", names[0], "[1]"), ("skipped", names[0], "[2]"), ("failed", names[1], "")]
    found = {
        "machine": {"device": "H1", "date": "2026-12-01T10", "commit": "abc", "stand_in": ""},
        "tests": [
            {"outcome": outcome, "name": f"x.py::test_{name.replace(' ', '_')}{parameter}"}
            for outcome, name, parameter in tests
        ],
        "benchmarks": None,
    }
    rows = make_rows(f"| {names[0]} | cpu | {NEVER} |", found)
    assert rows[:3] == [
        f"| {names[0]} | cpu | H1 2026-12-01 abc |",
        f"| {names[1]} | no | FAILED H1 2026-12-01 abc |",
        f"| {names[2]} | no | {NEVER} |",
    ]
