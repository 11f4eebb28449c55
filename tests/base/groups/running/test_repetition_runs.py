"""A repetition from its command to its summary, and what is left of it in the folder."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t

from base.groups.options import RepeatOptions
from base.groups.running.repetition import list_variants
from base.schema import SCHEMA
from base.tools.group_record import GroupRecord
from base.tools.run_record import RunRecord
from config import ConfigParser
from tests.base.groups.searches import get_lines, train, write_config
from tests.helpers import small_config
from utils.util import read_json


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of three seeds, of which the third was added later; and the two processes."""
    folder = tmp_path_factory.mktemp("seeds")
    config = write_config(folder, repeat={"seeds": 2})
    first = train("-c", config, "--run-id", "rep", "--jobs", "2")
    assert first.returncode == 0, first.stderr
    group = folder / "saved/small/rep"
    second = train("-r", group, "repeat.seeds=3")
    assert second.returncode == 0, second.stderr
    return group, first, second


def test_each_seed_is_an_ordinary_run(seeds: Any) -> None:
    group, _, _ = seeds
    scores = []
    for seed in (123, 124, 125):
        run = RunRecord(group / f"seed-{seed}")
        assert (run.state, run.config["seed"]) == ("finished", seed)
        assert "repeat" not in run.config
        assert run.best is not None
        scores.append(run.best.value)
    assert len(set(scores)) > 1


def test_the_summary_has_the_mean_and_student_s_interval(seeds: Any) -> None:
    group, _, second = seeds
    summary = read_json(group / "summary.json")
    values = [numbers["val_accuracy"] for numbers in summary["runs"].values()]
    mean = sum(values) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    half = t.ppf(0.975, 2) * deviation / math.sqrt(3)
    found = summary["means"]["val_accuracy"]
    assert found["mean"] == pytest.approx(mean)
    assert (found["low"], found["high"]) == pytest.approx((mean - half, mean + half))
    assert any(line.startswith("val_accuracy") and "±" in line for line in get_lines(second))


def test_more_seeds_leave_the_earlier_runs_as_they_are(seeds: Any) -> None:
    group, first, second = seeds
    sessions = read_json(group / "seed-123/provenance.json")["sessions"]
    assert len(sessions) == 1
    assert "2 seeds: 2 runs." in first.stdout
    assert not any(line.startswith("About") for line in get_lines(second))


@pytest.mark.parametrize("override", ["repeat.seeds=2", "~repeat.seeds", "repeat.seeds=[1, 2]"])
def test_seeds_are_never_removed(seeds: Any, override: str) -> None:
    group, _, _ = seeds
    before = (group / "group.json").read_text()
    done = train("-r", group, override)
    assert done.returncode == 2
    assert "repeat" in done.stderr
    assert (group / "group.json").read_text() == before


def test_a_repetition_with_folds_predicts_each_sample_once(tmp_path: Path) -> None:
    config = write_config(tmp_path, repeat={"folds": 3}, trainer={"limit_batches": None})
    done = train("-c", config, "--run-id", "cv")
    assert done.returncode == 0, done.stderr
    group = tmp_path / "saved/small/cv"
    loaders = [RunRecord(group / f"fold-{fold}").config["data_loader"] for fold in (1, 2, 3)]
    assert [loader["args"]["fold"] for loader in loaders] == [1, 2, 3]
    assert all(loader["args"]["validation_split"] == 0 for loader in loaders)
    with (group / "predictions.csv").open() as file:
        indices = [int(row["index"]) for row in csv.DictReader(file)]
    assert indices == list(range(1438))  # the training part of the digits
    assert (group / "report.html").is_file()


def test_seeds_times_folds_draw_new_folds_for_each_seed() -> None:
    config = ConfigParser(small_config(Path("saved"), monitor="max val_accuracy"))
    config.check(SCHEMA)
    variants = list_variants(RepeatOptions(seeds=2, folds=2), config)
    assert list(variants) == [
        "seed-123-fold-1",
        "seed-123-fold-2",
        "seed-124-fold-1",
        "seed-124-fold-2",
    ]
    splits = [changes["data_loader.args.split_seed"] for changes in variants.values()]
    assert splits == [0, 0, 1, 1]
    assert variants["seed-124-fold-2"]["seed"] == 124


def test_a_run_that_fails_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    config = write_config(tmp_path, repeat={"seeds": 2})
    group = tmp_path / "saved/small/rep"
    group.mkdir(parents=True)
    (group / "seed-124").write_text("in the way")
    done = train("-c", config, "--run-id", "rep")
    assert done.returncode == 1
    assert any(line.startswith("seed-124 has failed: ") for line in get_lines(done))
    assert RunRecord(group / "seed-123").state == "finished"
    (group / "seed-124").unlink()
    done = train("-c", config, "--run-id", "rep")
    assert done.returncode == 0
    assert RunRecord(group / "seed-124").state == "finished"


def test_the_score_of_a_repeated_trial_is_the_mean(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        search={"space": {"optimizer.args.lr": [0.01]}, "sampler": "grid"},
        repeat={"seeds": 2},
    )
    done = train("-c", config, "--run-id", "lr")
    assert done.returncode == 0, done.stderr
    trial = tmp_path / "saved/small/lr/trial-0"
    bests = [RunRecord(trial / f"seed-{seed}").best for seed in (123, 124)]
    mean = sum(best.value for best in bests if best is not None) / 2
    assert f"trial 0: val_accuracy {mean:.5g}" in done.stdout.replace("  ", " ")


def test_a_pruned_repetition_trains_no_further_seed(tmp_path: Path) -> None:
    pruner = {"type": "optuna.pruners.ThresholdPruner", "args": {"lower": 2}}
    config = write_config(
        tmp_path,
        search={"space": {"optimizer.args.lr": [0.01]}, "sampler": "grid", "pruner": pruner},
        repeat={"seeds": 3},
    )
    done = train("-c", config, "--run-id", "lr")
    assert "1 of 1 trials: 1 pruned" in done.stdout
    folder = tmp_path / "saved/small/lr/trial-0"
    assert len(list(folder.glob("seed-*"))) == 1
    assert GroupRecord(folder).state == "pruned"


def test_a_repeated_trial_is_failed_if_one_of_its_runs_is(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        search={"space": {"arch.args.width": [4, 10_000_000_000]}, "sampler": "grid"},
        repeat={"seeds": 2},
    )
    done = train("-c", config, "--run-id", "lr")
    assert "2 of 2 trials: 1 finished, 1 failed" in done.stdout
    group = GroupRecord(tmp_path / "saved/small/lr")
    assert [member.state for member in group.members] == ["finished", "failed"]
    assert group.state == "partly failed"
