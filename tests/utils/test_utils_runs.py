"""Finding checkpoints by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.checkpoints import find_checkpoint, list_checkpoints
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


def test_checkpoints_are_ordered_by_number_and_nothing_else_is_one(run: Path) -> None:
    assert [path.name for path in list_checkpoints(run)] == [
        "checkpoint-epoch10.pt",
        "checkpoint-epoch9.pth",
        "checkpoint-step7.pt",
        "checkpoint-epoch2.pt",
    ]


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


def test_without_the_one_wanted_the_other_is_taken(run: Path) -> None:
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
def test_nothing_there_is_told(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        find_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)
