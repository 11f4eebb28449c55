"""The records of groups: their members, states, best trials and means."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from base.tools.group_record import GroupRecord, is_group, list_records
from base.tools.run_record import RunRecord, Variant, list_runs
from tests.base.tools.made_groups import make_folds, make_group, make_member, make_seeds
from utils.files import lock_file

SPACE = {"optimizer.args.lr": [0.1, 0.2, 0.3], "data_loader.args.batch_size": [8, 16]}


def test_a_group_holds_runs_and_is_no_run_itself(tmp_path: Path) -> None:
    run = make_member(tmp_path, "digits/one", 0.5)
    member = make_member(tmp_path, "digits/hand/seed-1", 0.5)
    trial = make_member(tmp_path, "digits/deep/trial-1/seed-1", 0.5)
    search = make_group(tmp_path, "digits/lr")
    exported = tmp_path / "digits" / "exported"
    (exported / "model").mkdir(parents=True)
    (exported / "model" / "config.json").write_text('{"name": "digits"}')
    groups = [member.parent, search, trial.parent, trial.parent.parent]
    others = [run, member, trial, exported, tmp_path, tmp_path / "digits", tmp_path / "none"]
    assert [is_group(folder) for folder in groups] == [True] * 4
    assert [is_group(folder) for folder in others] == [False] * 7


def test_members_are_runs_with_the_name_of_their_group(tmp_path: Path) -> None:
    make_seeds(tmp_path, "digits/base", {123: 0.5})
    make_group(tmp_path, "digits/lr", search={"space": SPACE})
    make_seeds(tmp_path, "digits/lr/trial-3", {123: 0.5})
    make_member(tmp_path, "digits/one", 0.5)
    names = ["digits/base/seed-123", "digits/lr/trial-3/seed-123", "digits/one"]
    runs = list_runs(tmp_path)
    assert [run.name for run in runs] == names
    assert {run.experiment for run in runs} == {"digits"}
    assert [RunRecord(run.folder).name for run in runs] == names
    records = list_records(tmp_path)
    assert [record.name for record in records] == ["digits/base", "digits/lr", "digits/one"]
    assert GroupRecord(tmp_path / "digits" / "lr" / "trial-3").name == "digits/lr/trial-3"


def test_a_damaged_member_keeps_its_name(tmp_path: Path) -> None:
    folder = make_seeds(tmp_path, "digits/base", {123: 0.5})
    (folder / "seed-123" / "config.json").write_bytes(b"\xff{[")
    assert RunRecord(folder / "seed-123").name == "digits/base/seed-123"
    assert RunRecord(folder / "seed-123").variant.seed is None


def test_a_run_knows_its_seed_and_fold(tmp_path: Path) -> None:
    folder = make_folds(tmp_path, "digits/base", {(7, 2): 0.5}, split_seed=3)
    (member,) = GroupRecord(folder).members
    assert isinstance(member, RunRecord)
    assert member.variant == Variant(seed=7, fold=2, folds=5, split_seed=3)


def test_the_trials_of_a_search_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = make_group(tmp_path, "digits/lr", search={"space": SPACE, "trials": 20})
    for number, score in ((10, 0.9), (2, 0.8), (1, None)):
        make_member(tmp_path, f"digits/lr/trial-{number}", score, outcome="failed: no memory")
    make_member(tmp_path, "digits/lr/trial-4", 0.7)
    make_member(tmp_path, "digits/lr/trial-5", 0.6)
    (folder / "trial-11").mkdir()
    (folder / "hparams").mkdir()
    group = GroupRecord(folder)
    numbers = [1, 2, 4, 5, 10, 11]
    assert [member.folder.name for member in group.members] == [f"trial-{n}" for n in numbers]
    assert (group.kind, group.num_done, group.total) == ("search", 2, 20)
    assert group.best is not None
    assert group.best.name == "digits/lr/trial-4"  # of the finished ones
    assert group.mean is None


def test_a_grid_has_as_many_trials_as_points(tmp_path: Path) -> None:
    search = {"space": SPACE, "sampler": "grid"}
    assert GroupRecord(make_group(tmp_path, "a/b", search=search)).total == 6
    assert GroupRecord(make_group(tmp_path, "a/c", search=search | {"trials": 4})).total == 4
    ranges = {"optimizer.args.lr": {"low": 0, "high": 1, "step": 1}}
    assert GroupRecord(make_group(tmp_path, "a/d", search=search | {"space": ranges})).total == 0


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        (["finished", "finished"], "finished"),
        (["finished", "stopped by the pruner"], "finished"),
        (["finished", "failed: no data"], "partly failed"),
        (["failed: no data", "running"], "failed"),  # of a killed process
        (["finished", "stopped by SIGTERM"], "stopped"),
        (["failed: no data", "interrupted"], "stopped"),
        (["finished"], "stopped"),
        ([], "stopped"),
    ],
)
def test_the_state_of_a_search_follows_from_its_trials(
    tmp_path: Path, outcomes: list[str], state: str
) -> None:
    folder = make_group(tmp_path, "digits/lr", search={"space": SPACE, "trials": 2})
    for number, outcome in enumerate(outcomes):
        make_member(tmp_path, f"digits/lr/trial-{number}", 0.5, outcome=outcome)
    assert GroupRecord(folder).state == state


@pytest.mark.parametrize("name", ["trial-0/log/.lock", ".locks/trial-1"])
def test_a_group_is_running_while_a_process_holds_a_trial(tmp_path: Path, name: str) -> None:
    folder = make_group(tmp_path, "digits/lr", search={"space": SPACE, "trials": 2})
    make_member(tmp_path, "digits/lr/trial-0", 0.5, outcome="running")
    (folder / ".locks").mkdir()
    held = lock_file(folder / name)
    assert held is not None
    assert GroupRecord(folder).state == "running"
    held.close()
    assert GroupRecord(folder).state == "stopped"


def test_a_repetition_knows_its_missing_members(tmp_path: Path) -> None:
    group = GroupRecord(make_group(tmp_path, "a/both", repeat={"seeds": 2, "folds": 2}))
    names = ["seed-123-fold-1", "seed-123-fold-2", "seed-124-fold-1", "seed-124-fold-2"]
    assert group.missing == names
    assert group.total == 4
    folds = make_group(tmp_path, "a/folds", repeat={"folds": 3})
    make_member(tmp_path, "a/folds/fold-2", 0.5, fold=2, folds=3)
    assert GroupRecord(folds).missing == ["fold-1", "fold-3"]
    assert GroupRecord(make_seeds(tmp_path, "a/seeds", {5: 0.1, 9: 0.2})).missing == []


def test_the_mean_has_the_interval_that_fits(tmp_path: Path) -> None:
    by_seed = GroupRecord(make_seeds(tmp_path, "a/seeds", {1: 0.2, 2: 0.3, 3: 0.4}))
    assert by_seed.mean is not None
    assert by_seed.mean.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    scores = {(1, 1): 0.2, (1, 2): 0.3, (1, 3): 0.4}
    by_fold = GroupRecord(make_folds(tmp_path, "a/folds", scores))
    assert by_fold.mean is not None
    width = 4.302653 * 0.1 * math.sqrt(1 / 3 + 1 / 4)
    assert by_fold.mean.half_width == pytest.approx(width)
    # Other seeds on the same folds add no data.
    both = scores | {(2, fold): score for (_, fold), score in scores.items()}
    assert GroupRecord(make_folds(tmp_path, "a/both", both)).mean == pytest.approx(by_fold.mean)


def test_seeds_with_other_folds_each_are_a_repeated_cross_validation(tmp_path: Path) -> None:
    folder = make_group(tmp_path, "a/cv", repeat={"seeds": 2, "folds": 3})
    for seed in (123, 124):
        for fold, score in enumerate((0.2, 0.3, 0.4), 1):
            name = f"a/cv/seed-{seed}-fold-{fold}"
            make_member(tmp_path, name, score, seed, folds=3, fold=fold, split_seed=seed)
    mean = GroupRecord(folder).mean
    assert mean is not None
    width = 2.570582 * math.sqrt(0.04 / 5 * (1 / 6 + 1 / 2))
    assert mean.half_width == pytest.approx(width)


def test_a_trial_that_is_repeated_scores_its_mean(tmp_path: Path) -> None:
    folder = make_group(tmp_path, "digits/lr", search={"space": SPACE}, repeat={"seeds": 2})
    make_seeds(tmp_path, "digits/lr/trial-0", {1: 0.5, 2: 0.9})
    make_seeds(tmp_path, "digits/lr/trial-1", {1: 0.8, 2: 0.8})
    make_seeds(tmp_path, "digits/lr/trial-2", {1: 0.9})
    make_member(tmp_path, "digits/lr/trial-2/seed-2", 0.9, seed=2, outcome="failed: no memory")
    group = GroupRecord(folder)
    assert group.best is not None
    assert group.best.name == "digits/lr/trial-1"
    assert (group.state, len(list(group.runs))) == ("partly failed", 6)


def test_a_repeated_trial_takes_its_seeds_from_the_search(tmp_path: Path) -> None:
    """Only the folder of the search has a group.json."""
    make_group(tmp_path, "digits/lr", search={"space": SPACE}, repeat={"seeds": 3})
    member = make_member(tmp_path, "digits/lr/trial-0/seed-123", 0.5)
    trial = GroupRecord(member.parent)
    assert (trial.kind, trial.name, trial.state) == ("repeat", "digits/lr/trial-0", "stopped")
    assert trial.missing == ["seed-124", "seed-125"]
    assert GroupRecord(member.parent.parent).best is None


def test_a_group_by_hand_is_a_repetition_if_its_seeds_differ(tmp_path: Path) -> None:
    for name, seed in (("seeds/a", 1), ("seeds/b", 2), ("rates/a", 1), ("rates/b", 1)):
        make_member(tmp_path, f"digits/{name}", 0.5 + seed / 10, seed)
    seeds, rates = (GroupRecord(tmp_path / "digits" / name) for name in ("seeds", "rates"))
    assert (seeds.kind, seeds.state, rates.mean) == ("", "finished", None)
    assert seeds.mean is not None
    assert seeds.mean.mean == pytest.approx(0.65)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff{[",
        b"[]",
        b'{"search": 3, "repeat": {"seeds": "x", "folds": 1000000000000}, "trainer": 1}',
        b'{"repeat": {"seeds": [1, {}]}, "seed": "x", "name": 5}',
        b'{"search": {"space": [1], "trials": "x", "sampler": "grid"}}',
    ],
)
def test_a_damaged_group_is_read_as_far_as_it_can_be(tmp_path: Path, content: bytes) -> None:
    folder = make_seeds(tmp_path, "digits/base", {1: 0.5, 2: 0.6})
    (folder / "group.json").write_bytes(content)
    for name in ("provenance.json", "log/metrics.jsonl", "config.json"):
        (folder / "seed-2" / name).write_bytes(b"\xff{[")
    with (folder / "seed-1" / "log" / "metrics.jsonl").open("a") as file:
        for number in ("1e999", "NaN", "1" + 400 * "0", '"x"', "true"):
            file.write(f'{{"epoch": 3, "val_accuracy": {number}}}\n')
    (group,) = list_records(tmp_path)
    assert isinstance(group, GroupRecord)
    assert [member.name for member in group.members] == ["digits/base/seed-1", "digits/base/seed-2"]
    assert group.state == "stopped"
    assert group.total >= 2
    assert group.best is not None
    assert [run.best.value for run in group.runs if run.best] == [0.5]


def test_numbers_of_different_kinds_are_not_compared(tmp_path: Path) -> None:
    make_member(tmp_path, "digits/hand/a", 0.4, seed=1)
    make_member(tmp_path, "digits/hand/b", 0.5, seed=2)
    make_member(tmp_path, "digits/hand/loss", 0.9, seed=3, monitor="max val_f1")
    group = GroupRecord(tmp_path / "digits" / "hand")
    assert group.best is not None
    assert group.best.name == "digits/hand/b"
    assert group.mean is not None
    assert group.mean.mean == pytest.approx(0.45)
