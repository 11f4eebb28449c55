"""The runs of a cross-validation predict what they have not trained on."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss

from base.data.split import split_indices
from base.groups.testing.out_of_fold import write_out_of_fold
from base.schema import SCHEMA
from data_loader.data_loaders import DigitsDataLoader
from tests.base.groups.conftest import train_members
from tests.base.groups.testing.test_testing import read_rows


@pytest.fixture
def copied(folds: Path, tmp_path: Path) -> Path:
    """A copy of the group, in which a test may change something."""
    target = tmp_path / "small" / "cv"
    shutil.copytree(folds, target)
    return target


def keep_seeds(group: Path, *seeds: int) -> None:
    for path in group.glob("seed-*"):
        if int(path.name.split("-")[1]) not in seeds:
            shutil.rmtree(path)


def test_each_sample_is_predicted_once_by_the_run_that_has_not_trained_on_it(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_seeds(copied, 1)
    with caplog.at_level(logging.INFO):
        assert write_out_of_fold(copied, SCHEMA) == copied / "report.html"
    rows = read_rows(copied / "predictions.csv")
    digits = load_digits().target
    classes = digits[split_indices(len(digits), 0.2, labels=digits)[0]]
    assert [int(row["index"]) for row in rows] == list(range(len(classes)))
    assert [int(row["target"]) for row in rows] == classes.tolist()
    valid = DigitsDataLoader(folds=2, fold=2, split_seed=1).valid_sampler.indices
    assert [int(row["index"]) for row in rows if row["fold"] == "2"] == sorted(valid.tolist())

    probabilities = np.array(
        [[float(row[f"probability of {number}"]) for number in range(10)] for row in rows]
    )
    probabilities /= probabilities.sum(1, keepdims=True)  # they are rounded
    text = caplog.text
    line = next(line for line in text.splitlines() if line.startswith("all samples"))
    loss, accuracy = map(float, line.split()[2:])
    assert loss == pytest.approx(log_loss(classes, probabilities), rel=1e-4)
    assert accuracy == pytest.approx(accuracy_score(classes, probabilities.argmax(1)), rel=1e-4)
    best = [read_best(copied / f"seed-1-fold-{fold}") for fold in (1, 2)]
    shown = [float(row.split()[1]) for row in text.splitlines() if row.startswith("seed-1-fold")]
    assert shown == pytest.approx(best, rel=1e-5)  # the numbers of the training's validation


def read_best(folder: Path) -> float:
    """The validation loss of the only epoch."""
    (line,) = (folder / "log/metrics.jsonl").read_text().splitlines()
    return float(json.loads(line)["val_loss"])


def test_each_seed_has_separate_rows(copied: Path) -> None:
    assert write_out_of_fold(copied, SCHEMA) is not None
    rows = read_rows(copied / "predictions.csv")
    assert [(int(row["seed"]), int(row["index"])) for row in rows] == [
        (seed, index) for seed in (1, 2) for index in range(1438)
    ]
    page = (copied / "report.html").read_text()
    assert "all samples, seed 2" in page
    assert "2 folds, 2 seeds" in page


def test_runs_that_are_not_finished_are_named_and_left_out(copied: Path) -> None:
    path = copied / "seed-2-fold-1/provenance.json"
    path.write_text(path.read_text().replace('"finished"', '"failed: OSError"'))
    assert write_out_of_fold(copied, SCHEMA) is not None
    assert "missing: fold 1 of seed 2" in (copied / "report.html").read_text()
    found = {(row["seed"], row["fold"]) for row in read_rows(copied / "predictions.csv")}
    assert found == {("1", "1"), ("1", "2"), ("2", "2")}


def test_limited_batches_are_named(copied: Path) -> None:
    for path in copied.glob("*/config.json"):
        config = json.loads(path.read_text())
        config["trainer"]["limit_batches"] = 2
        path.write_text(json.dumps(config))
    report = write_out_of_fold(copied, SCHEMA)
    assert report is not None
    assert "only the first 2 batches of each fold (trainer.limit_batches)" in report.read_text()


def test_a_group_without_finished_folds_has_no_predictions(copied: Path) -> None:
    for path in copied.glob("*/provenance.json"):
        path.write_text(path.read_text().replace('"finished"', '"failed: OSError"'))
    assert write_out_of_fold(copied, SCHEMA) is None
    assert not (copied / "report.html").exists()


def test_two_runs_of_one_seed_and_fold_are_no_cross_validation(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(copied / "seed-1-fold-1", copied / "again")
    assert write_out_of_fold(copied, SCHEMA) is None
    assert "its runs are no cross-validation of one config" in caplog.text


@pytest.mark.parametrize("channels", [["a"], ["a", "b"]])
def test_forecasts_are_in_real_units_and_each_fold_scales_its_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, channels: list[str]
) -> None:
    path = tmp_path / "series.csv"
    random = np.random.default_rng(0)
    steps = "".join(f"{step + random.normal()},{step * step}\n" for step in range(90))
    path.write_text("a,b\n" + steps)
    windows = {"path": str(path), "columns": channels, "history": 4, "horizon": 2}
    dataset = {
        "type": "series.CsvSeries",
        "args": windows | {"target_transform": {"type": "Standardize"}},
    }
    args = {"dataset": dataset, "batch_size": 8, "folds": 2, "validation_split_by": "time"}
    args["num_workers"] = 0
    sizes = f"{{history: 4, horizon: 2, channels: {len(channels)}}}"
    words = [f"arch={{type: series.MLPForecaster, args: {sizes}}}", "loss=L1Loss", "metrics=[]"]
    changes = {f"fold-{fold}": [*words, f"data_loader.args.fold={fold}"] for fold in (1, 2)}
    group = train_members(tmp_path, "cv", changes, {"type": "DatasetLoader", "args": args})
    with caplog.at_level(logging.INFO):
        assert write_out_of_fold(group, SCHEMA) is not None
    lines = {line.split("  ")[0]: line.split()[-1] for line in caplog.text.splitlines()}
    losses = [float(lines[name]) for name in ("fold-1", "fold-2")]
    assert float(lines["all samples"]) == pytest.approx(sum(losses) / 2, rel=1e-3)
    rows = read_rows(group / "predictions.csv")
    titles = [title for title in rows[0] if title.startswith("target_")]
    assert len(titles) == 2 * len(channels)
    assert max(float(row[titles[0]]) for row in rows) > 80
