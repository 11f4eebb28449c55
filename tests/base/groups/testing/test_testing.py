"""``test.py -r GROUP``: each run is tested, and the mean of their outputs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.base.tools.programs import Ended

Program = Callable[..., Ended]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def copied(folds: Path, tmp_path: Path) -> Path:
    """A copy of the group, in which a test may change something."""
    target = tmp_path / "small" / "cv"
    shutil.copytree(folds, target)
    return target


def test_runs_with_the_same_test_data_make_an_ensemble(copied: Path, program: Program) -> None:
    output = copied.parent / "group.out"
    done = program("test.py", "-r", copied, "--output", output)
    assert done.status == 0, done.err
    names = [f"seed-{seed}-fold-{fold}" for seed in (1, 2) for fold in (1, 2)]
    table = done.out[done.out.index("4 runs") :].splitlines()
    titles = [line.partition("  ")[0] for line in table]
    assert titles[2:9] == [*names, "mean", "std", "ensemble"]
    assert "The ensemble averages the probabilities of the classes." in table

    found = json.loads((copied / "test/scores.json").read_text())
    assert json.loads(output.read_text()) == found
    losses = [item["metrics"]["loss"] for item in found["members"]]
    assert [item["run"] for item in found["members"]] == names
    assert found["mean"]["loss"] == pytest.approx(np.mean(losses))
    assert found["std"]["loss"] == pytest.approx(np.std(losses, ddof=1))
    assert found["ensemble"]["metrics"]["loss"] < np.mean(losses)  # by Jensen's inequality

    rows = read_rows(copied / "test/predictions.csv")
    assert [row["index"] for row in rows] == [str(index) for index in range(359)]
    is_right = [row["prediction"] == row["target"] for row in rows]
    assert found["ensemble"]["metrics"]["accuracy"] == pytest.approx(np.mean(is_right))
    assert (copied / "test/report.html").is_file()
    for name in names:
        assert (copied / name / "report.html").is_file()
        assert (copied / name / "test/model_best.json").is_file()


def test_folds_that_are_tested_on_themselves_make_no_ensemble(
    folds_without_test: Path, program: Program
) -> None:
    done = program("test.py", "-r", folds_without_test)
    assert done.status == 0, done.err
    assert "on fold 2 of 2 (there is no test data)" in done.out
    note = "There is no ensemble: fold-2 was tested on other data than the runs before."
    assert note in done.out.splitlines()
    found = json.loads((folds_without_test / "test/scores.json").read_text())
    assert (found["ensemble"], found["note"]) == (None, note)
    assert not (folds_without_test / "test/predictions.csv").exists()


def test_runs_with_other_metrics_are_tested_without_an_ensemble(
    copied: Path, program: Program
) -> None:
    path = copied / "seed-2-fold-2/config.json"
    path.write_text(path.read_text().replace('"accuracy"', '"top_k_acc"'))
    done = program("test.py", "-r", copied)
    assert done.status == 0, done.err
    assert "no ensemble: seed-2-fold-2 differs from the runs before in metrics" in done.out
    assert {"loss", "accuracy", "top_k_acc"} == set(
        json.loads((copied / "test/scores.json").read_text())["mean"]
    )


def test_a_run_without_a_checkpoint_is_left_out_and_named(copied: Path, program: Program) -> None:
    for path in (copied / "seed-1-fold-2").glob("*.pt"):
        path.unlink()
    done = program("test.py", "-r", copied)
    assert done.status == 0, done.err
    assert "seed-1-fold-2 is left out, because it has no checkpoint" in done.out
    assert "3 runs" in done.out


def make_search(copied: Path, scores: dict[str, float]) -> None:
    """Turns the group into a search with these trials."""
    config = json.loads((copied / "seed-1-fold-1/config.json").read_text())
    content: dict[str, Any] = config | {"search": {"space": {"seed": [1, 2]}}}
    (copied / "group.json").write_text(json.dumps(content))
    for old, (name, score) in zip(sorted(copied.glob("seed-*")), scores.items(), strict=False):
        old.rename(copied / name)
        path = copied / name / "log/metrics.jsonl"
        path.write_text(json.dumps({"epoch": 1, "val_loss": score}) + "\n")
        provenance = copied / name / "provenance.json"
        if name == "trial-1":  # the pruner has stopped it
            text = provenance.read_text().replace('"finished"', '"stopped by the pruner"')
            provenance.write_text(text)


def test_of_a_search_the_best_finished_trial_is_tested(copied: Path, program: Program) -> None:
    make_search(copied, {"trial-0": 0.7, "trial-1": 0.1, "trial-2": 0.5, "trial-10": 0.6})
    done = program("test.py", "-r", copied)
    assert done.status == 0, done.err
    first, second, *_ = done.out.splitlines()
    assert first.startswith("trial-2 is the best of 3 finished trials")
    assert first.endswith("val_loss 0.5")
    assert f"{copied}/trial-2/model_best.pt" in second
    assert [path.parent.name for path in copied.glob("*/report.html")] == ["trial-2"]


@pytest.mark.parametrize(
    ("folder", "words", "message"),
    [
        ("", ["--predict", "x.png"], "--predict takes one run; give -r one of those in"),
        ("..", [], "there is no checkpoint in this folder"),
        ("", ["optimizer.args.lrr=1"], "takes no 'lrr'"),
    ],
)
def test_what_does_not_fit_a_group_is_one_clear_line(
    copied: Path, program: Program, folder: str, words: list[str], message: str
) -> None:
    done = program("test.py", "-r", copied / folder, *words)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert message in line
    assert not (copied / "test").exists()


def test_the_folder_of_an_experiment_is_no_group(copied: Path, program: Program) -> None:
    (copied / "seed-1-fold-1").rename(copied.parent / "run")
    done = program("test.py", "-r", copied.parent)
    assert done.status == 2
    assert "is the folder of all runs of an experiment; give one: cv, run" in done.err
