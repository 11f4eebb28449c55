"""Several validation sets, and several test sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.base.checkpoint.resumed_runs import read_lines
from tests.forked import run_forked
from tests.helpers import make_trainer, small_config
from utils.errors import UserError

TEST_DATA = {"type": "DigitsDataLoader", "args": {"training": False, "shuffle": False}}
FEW = {"type": "DigitsDataLoader", "args": {"validation_split": 20, "batch_size": 50}}
SETS = {"test": TEST_DATA, "all": FEW}


def make_config(tmp_path: Path, **trainer: Any) -> dict[str, Any]:
    config = small_config(tmp_path, **trainer)
    del config["data_loader"]["args"]["validation_split"]
    return config | {"valid_data_loader": SETS, "test_data_loader": SETS}


def test_each_set_has_its_numbers_and_one_may_be_monitored(tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=1, monitor="max val_all_accuracy", ema_decay=0.9)
    trainer = make_trainer(config)
    trainer.train()
    (row,) = read_lines(trainer.checkpoint_dir)
    names = [name for name in row if name.startswith("val_")]
    assert names == [
        *("val_test_loss", "val_test_accuracy", "val_all_loss", "val_all_accuracy"),
        *("val_ema_test_loss", "val_ema_test_accuracy"),
        *("val_ema_all_loss", "val_ema_all_accuracy"),
    ]
    assert trainer.mnt_best == row["val_all_accuracy"]
    single = config | {"valid_data_loader": TEST_DATA}
    single["trainer"] = config["trainer"] | {"monitor": "off"}
    alike = make_trainer(single, "single")
    alike.train()
    (expected,) = read_lines(alike.checkpoint_dir)
    assert row["val_test_loss"] == expected["val_loss"]


def test_two_ranks_have_the_numbers_of_one(tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=1)
    config["data_loader"]["args"]["shuffle"] = False
    file = tmp_path / "sets.json"
    file.write_text(json.dumps(config))
    rows = []
    for run_id, words in {
        "one": [],
        "two": ["parallel.type=ddp", "parallel.args.num_processes=2"],
    }.items():
        ended = run_forked("train.py", "-c", str(file), "--run-id", run_id, *words)
        assert ended.returncode == 0, ended.stderr
        rows += read_lines(tmp_path / "small" / run_id)
    # BatchNorm sees other batches in two processes, so that only the names and types agree.
    assert rows[0].keys() == rows[1].keys()
    result = run_forked("test.py", "-r", str(tmp_path / "small" / "two"))
    assert result.returncode == 0, result.stderr


def test_a_test_reports_each_set(tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=1)
    trainer = make_trainer(config)
    trainer.train()
    folder = trainer.checkpoint_dir
    ended = run_forked("test.py", "-r", str(folder))
    assert ended.returncode == 0, ended.stderr
    (path,) = (folder / "test").glob("*.json")
    content = json.loads(path.read_text())
    assert content["sets"]["test"]["n_samples"] == 359
    assert content["sets"]["all"]["n_samples"] == 1438 - 20
    assert content["n_samples"] == 359 + 1438 - 20
    tables = {table.name for table in (folder / "test").glob("*.csv")}
    assert tables == {"predictions-test.csv", "predictions-all.csv"}
    report = (folder / "report.html").read_text()
    assert "<th></th><th>test</th><th>all</th>" in report
    assert "Confusion matrix · all" in report


def test_limit_batches_limits_each_set(tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=1, limit_batches=2)
    trainer = make_trainer(config)
    trainer.train()
    n_samples = {name: metrics.n_samples for name, metrics in trainer.valid_metrics.items()}
    assert n_samples == {"test": 2 * 64, "all": 2 * 50}
    ended = run_forked("test.py", "-r", str(trainer.checkpoint_dir))
    assert ended.returncode == 0, ended.stderr
    (path,) = (trainer.checkpoint_dir / "test").glob("*.json")
    assert json.loads(path.read_text())["n_samples"] == 2 * 64 + 2 * 50


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"a": {"type": "Digit"}}, r"valid_data_loader\.a\.type: no 'Digit'"),
        ({"a": TEST_DATA, "ema": TEST_DATA}, r"valid_data_loader\.ema: cannot be the name"),
        ({"a/b": TEST_DATA}, r"valid_data_loader\.a/b: cannot be the name"),
        ({"a": TEST_DATA, "args": {}}, "valid_data_loader: has 'type' or 'args' of its own"),
        ({"a": "DigitsDataLoader"}, "valid_data_loader: must be"),
        ({"a": TEST_DATA, "b": None}, r"^valid_data_loader\.b: must be .* not None$"),
        ([TEST_DATA], "valid_data_loader: several sets are a mapping of names to .* not a list"),
        (TEST_DATA | {"a": TEST_DATA}, "'~valid_data_loader:' beside this key removes them"),
    ],
)
def test_wrong_sets_are_found_before_the_start(tmp_path: Path, sets: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_trainer(make_config(tmp_path) | {"valid_data_loader": sets})


def test_two_numbers_of_one_name_are_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config["valid_data_loader"] = {"a": TEST_DATA, "a_b": TEST_DATA}
    config["metrics"] = ["accuracy", {"type": "accuracy", "name": "b_accuracy"}]
    with pytest.raises(UserError, match="two numbers would be logged as 'val_a_b_accuracy'"):
        make_trainer(config)


def test_a_monitor_must_name_a_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is logged as 'val_accuracy'"):
        make_trainer(make_config(tmp_path, monitor="max val_accuracy"))
