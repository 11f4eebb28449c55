"""A search from its command to its last line, and what is left of it in the folder."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from base.tools.run_record import RunRecord
from tests.base.groups.searches import LR, SPACE, get_lines, start_search, train, write_config
from utils.files import is_locked
from utils.util import read_json


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a finished search of three trials, and the process that made it."""
    folder = tmp_path_factory.mktemp("searched")
    done = start_search(folder)
    assert done.returncode == 0, done.stderr
    return folder, folder / "saved/small/lr", done


def list_trials(group: Path) -> list[Path]:
    return sorted(group.glob("trial-*"), key=lambda path: int(path.name.split("-")[1]))


def test_each_trial_is_an_ordinary_run(searched: Any) -> None:
    _, group, _ = searched
    rates = []
    for number, folder in enumerate(list_trials(group)):
        run = RunRecord(folder)
        assert (folder.name, run.state, run.epochs) == (f"trial-{number}", "finished", "2/2")
        assert "search" not in run.config
        assert (folder / "model_best.pt").is_file()
        assert run.changes == f"{LR}={run.config['optimizer']['args']['lr']}"
        rates.append(run.config["optimizer"]["args"]["lr"])
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)


def test_the_lines_name_the_score_of_each_trial_and_the_best(searched: Any) -> None:
    _, group, done = searched
    lines = done.stdout.splitlines()
    scores = {}
    for folder in list_trials(group):
        best = RunRecord(folder).best
        assert best is not None
        scores[folder.name] = best.value
        word = f"{folder.name.replace('-', ' ')}: val_accuracy {best.value:.5g}"
        assert any(line.startswith(word) for line in lines)
        rate = RunRecord(folder).config["optimizer"]["args"]["lr"]
        assert any(f"  lr={rate:.4g}" in line for line in lines)  # rounded, with a short name
    winner = max(scores, key=lambda name: scores[name])
    assert any(line.endswith(f"test.py -r {group / winner}") for line in lines)


def test_the_command_for_the_winner_works(searched: Any) -> None:
    folder, group, done = searched
    line = next(line for line in done.stdout.splitlines() if line.startswith("  to train"))
    words = shlex.split(line)[4:]
    assert train(*words).returncode == 0
    assert RunRecord(folder / "saved/small/lr-best").state == "finished"
    assert group.is_dir()


def test_a_finished_search_has_nothing_left_to_do(searched: Any) -> None:
    folder, group, _ = searched
    before = {path: path.stat().st_mtime_ns for path in group.glob("trial-*/*.pt")}
    for words in (["-r", group], ["-c", folder / "sweep.json", "--run-id", "lr"]):
        done = train(*words)
        assert done.returncode == 0, done.stderr
        assert "3 of 3 trials: 3 finished" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in group.glob("trial-*/*.pt")}


def test_a_search_can_be_extended(tmp_path: Path) -> None:
    start_search(tmp_path, trials=1)
    group = tmp_path / "saved/small/lr"
    done = train("-r", group, "search.trials=2")
    assert "2 of 2 trials: 2 finished" in done.stdout
    assert read_json(group / "group.json")["search"]["trials"] == 2


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.type=SGD", "optimizer.type"),
        ("search.sampler=tpe", "search.sampler"),
        (f'search.space."{LR}".high=1', f'search.space."{LR}".high'),
    ],
)
def test_a_search_goes_on_only_with_the_same_config(searched: Any, override: str, key: str) -> None:
    _, group, _ = searched
    before = (group / "group.json").read_text()
    done = train("-r", group, override)
    assert done.returncode == 2
    assert f"this search has begun with another config: {key} differs" in done.stderr
    assert (group / "group.json").read_text() == before


def test_trials_that_crash_do_not_stop_the_others(tmp_path: Path) -> None:
    space = {"arch.args.width": [2, 3, 10_000_000_000, 4]}  # the third has no room in memory
    done = start_search(tmp_path, space=space, sampler="grid", trials=None)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials: 3 finished, 1 failed" in done.stdout
    line = next(line for line in get_lines(done) if line.startswith("trial 2: failed"))
    assert "memory" in line
    states = [RunRecord(path).state for path in list_trials(tmp_path / "saved/small/lr")]
    assert states.count("finished") == 3


def test_a_search_without_any_finished_trial_fails(tmp_path: Path) -> None:
    done = start_search(tmp_path, space={"arch.args.width": [10_000_000_000]}, sampler="grid")
    assert done.returncode == 1
    assert "1 of 1 trials: 1 failed" in done.stdout


def test_a_pruned_trial_keeps_its_checkpoint(tmp_path: Path) -> None:
    pruner = {"type": "optuna.pruners.ThresholdPruner", "args": {"lower": 2}}  # no accuracy is
    done = start_search(tmp_path, trials=1, pruner=pruner)
    assert "1 of 1 trials: 1 pruned" in done.stdout
    folder = tmp_path / "saved/small/lr/trial-0"
    assert RunRecord(folder).outcome == "stopped by the pruner"
    assert [path.name for path in folder.glob("checkpoint*")] == ["checkpoint-epoch1.pt"]
    assert len(RunRecord(folder).rows) == 1


def test_a_search_inside_a_run_is_refused(searched: Any) -> None:
    folder, group, _ = searched
    run = group / "trial-0"
    done = train("-r", run, "-c", folder / "sweep.json")
    assert done.returncode == 2
    assert "a run cannot become a search" in done.stderr
    assert not is_locked(run / "log" / ".lock")


def test_a_search_cannot_begin_in_the_folder_of_a_run_or_around_others(searched: Any) -> None:
    folder, group, _ = searched
    run = train("-c", folder / "sweep.json", "--run-id", "lr/trial-0")
    assert run.returncode == 2
    assert "is a run" in run.stderr
    group.joinpath("hand/x").mkdir(parents=True)
    (group / "hand/x/config.json").write_text(json.dumps({}))
    done = train("-c", folder / "sweep.json", "--run-id", "lr/hand")
    assert done.returncode == 2
    assert "holds runs that no search has made" in done.stderr


def test_nothing_is_left_if_the_storage_cannot_be_used(tmp_path: Path) -> None:
    done = start_search(tmp_path, storage="postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "search.storage" in done.stderr
    assert not (tmp_path / "saved").exists()


def test_a_folder_of_a_trial_with_other_values_is_not_continued(tmp_path: Path) -> None:
    start_search(tmp_path, trials=1)
    group = tmp_path / "saved/small/lr"
    (group / "storage.db").unlink()
    config = json.loads((group / "group.json").read_text())
    config["search"]["space"] = {LR: [0.5]}
    (group / "group.json").write_text(json.dumps(config))
    done = train("-r", group)
    assert f"holds a run with another {LR}; remove the folder" in done.stderr + done.stdout
    assert done.returncode == 1
    assert (group / "trial-0/model_best.pt").is_file()
    shutil.rmtree(group / "trial-0")
    done = train("-r", group)
    assert "1 of 1 trials: 1 finished" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("jobs", ["0", "2"])
def test_jobs_are_for_many_runs_only(tmp_path: Path, jobs: str) -> None:
    done = train("-c", write_config(tmp_path), "--jobs", jobs)
    assert done.returncode == 2
    assert "--jobs: only a config with" in done.stderr


def test_the_space_is_in_the_folder(searched: Any) -> None:
    _, group, _ = searched
    assert read_json(group / "group.json")["search"]["space"] == SPACE
