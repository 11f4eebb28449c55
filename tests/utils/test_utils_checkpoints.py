"""Checkpoints are found by their names."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest

from utils.checkpoints import (
    checkpoint_number,
    find_checkpoint,
    find_group,
    holds_runs,
    list_checkpoints,
)
from utils.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in (
        "checkpoint-epoch2.pt",
        "checkpoint-epoch10.pt",
        "checkpoint-epoch9.pth",
        "checkpoint-step7.pt",
        "model_best.pt",
        "config.json",
        "checkpoint-epoch11.pt.tmp",
        ".checkpoint-epoch12.pt.1.tmp",
        "checkpoint-epochX.pt",
        "my-checkpoint-epoch13.pt",
    ):
        (tmp_path / name).touch()
    return tmp_path


def test_checkpoints_are_ordered_by_number_and_other_files_are_none(run: Path) -> None:
    assert [path.name for path in list_checkpoints(run)] == [
        "checkpoint-epoch10.pt",
        "checkpoint-epoch9.pth",
        "checkpoint-step7.pt",
        "checkpoint-epoch2.pt",
    ]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("checkpoint-epoch3.pt", (3, inf)),
        ("checkpoint-epoch3-step70.pt", (3, 70)),
        ("checkpoint-epoch3-step0.pt", (3, 0)),
        ("checkpoint-step70.pt", (70, inf)),
        ("model_best.pt", (0, 0)),
    ],
)
def test_a_name_tells_the_epoch_and_the_step(name: str, number: tuple[float, float]) -> None:
    assert checkpoint_number(Path("saved") / name) == number


def test_a_checkpoint_inside_an_epoch_is_older_than_that_of_the_finished_one(
    tmp_path: Path,
) -> None:
    names = ["checkpoint-epoch3.pt", "checkpoint-epoch3-step70.pt", "checkpoint-epoch2.pt"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == names


def test_a_tilde_is_the_home_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    assert find_checkpoint(f"~/{run.name}") == find_checkpoint(run)


def test_a_file_means_itself(run: Path) -> None:
    for best_first in (True, False):
        assert (
            find_checkpoint(str(run / "checkpoint-epoch2.pt"), best_first)
            == run / "checkpoint-epoch2.pt"
        )


@pytest.mark.parametrize(
    ("best_first", "name"), [(False, "checkpoint-epoch10.pt"), (True, "model_best.pt")]
)
def test_a_folder_means_its_newest_or_its_best(run: Path, best_first: bool, name: str) -> None:
    assert find_checkpoint(run, best_first) == run / name


@pytest.mark.parametrize(
    "names",
    [
        ["checkpoint_epoch02.pth.tar", "checkpoint_epoch10.pth.tar"],
        ["checkpoint_epoch02_loss_0.51000.pth.tar", "checkpoint_epoch10_loss_0.50000.pth.tar"],
        ["checkpoint-epoch002-loss-0.5000.pth.tar", "checkpoint-epoch010-loss-0.6000.pth.tar"],
        ["checkpoint-epoch2.pth.tar", "checkpoint-epoch10.pth.tar"],
        ["checkpoint-epoch2.pth", "checkpoint-epoch10.pth"],
    ],
)
def test_the_names_of_all_versions_of_the_template_are_known(
    tmp_path: Path, names: list[str]
) -> None:
    best = "model_best.pth.tar" if names[0].endswith(".tar") else "model_best.pth"
    for name in [*names, best]:
        (tmp_path / name).touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == names[::-1]
    assert find_checkpoint(tmp_path).name == names[1]
    assert find_checkpoint(tmp_path, best_first=True).name == best


def test_without_the_preferred_one_another_is_taken(run: Path) -> None:
    (run / "model_best.pt").rename(run / "model_best.pth")  # pytorch-template's
    assert find_checkpoint(run, best_first=True).name == "model_best.pth"
    (run / "model_best.pth").unlink()
    assert find_checkpoint(run, best_first=True).name == "checkpoint-epoch10.pt"
    for path in list_checkpoints(run):
        path.unlink()
    (run / "model_best.pt").touch()
    assert find_checkpoint(run).name == "model_best.pt"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no such checkpoint or run folder"),
        ("x" * 300, "no such checkpoint"),
        ("", "there is no checkpoint"),
    ],
)
def test_a_missing_checkpoint_is_an_error_of_one_line(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        find_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_link_to_a_checkpoint_leads_into_its_run(run: Path, tmp_path_factory: Any) -> None:
    """mmsegmentation #273."""
    outside = tmp_path_factory.mktemp("links")
    for link in (outside / "latest.pt", run / "link.pt"):
        link.symlink_to(run / "checkpoint-epoch2.pt")
    (outside / "run").symlink_to(run)
    assert find_checkpoint(outside / "latest.pt") == run / "checkpoint-epoch2.pt"
    assert find_checkpoint(run / "link.pt") == run / "link.pt"
    assert find_checkpoint(outside / "run") == outside / "run" / "checkpoint-epoch10.pt"
    (run / "config.json").unlink()  # a file of weights, such as one of a download cache
    assert find_checkpoint(outside / "latest.pt") == outside / "latest.pt"


def test_a_folder_of_runs_holds_runs_and_a_run_does_not(tmp_path: Path) -> None:
    group = tmp_path / "name" / "group"
    (group / "seed-1").mkdir(parents=True)
    assert not holds_runs(group)
    (group / "seed-1/config.json").write_text("{}")
    assert holds_runs(group)
    assert not holds_runs(tmp_path / "name")
    assert not holds_runs(tmp_path / "absent")
    (group / "model_best.pt").touch()
    (group / "config.json").write_text("{}")
    assert not holds_runs(group)


def test_a_search_without_trials_holds_runs(tmp_path: Path) -> None:
    (tmp_path / "group.json").write_text("{}")
    assert holds_runs(tmp_path)


def test_a_group_is_found_by_its_folder_and_by_its_config(tmp_path: Path) -> None:
    assert find_group(tmp_path) is None
    assert find_group(tmp_path / "group.json") is None
    (tmp_path / "group.json").write_text("{}")
    assert find_group(tmp_path) == find_group(tmp_path / "group.json") == tmp_path
