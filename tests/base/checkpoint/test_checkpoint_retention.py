"""Which checkpoints stay in a run's folder."""

from __future__ import annotations

import logging

import pytest

from base.checkpoint.manager import CheckpointManager
from base.checkpoint.retention import KeepBest, KeepLast, best_name
from base.options import TrainerOptions
from utils.checkpoints import checkpoint_number

SERIES = [
    "checkpoint-epoch2-step7.pt",
    "checkpoint-epoch2.pt",
    "checkpoint-epoch10-step70.pt",
    "checkpoint-epoch10.pt",
]


@pytest.fixture
def folder(tmp_path):
    for name in [*SERIES, "model_best.pt", "model_best-epoch2.pt", "notes.pt", "config.json"]:
        (tmp_path / name).touch()
    return tmp_path


def obsolete(policy, folder, written, best_epochs=()):
    """The names of the files that a policy would delete."""
    found = policy.find_obsolete(folder, folder / written, list(best_epochs))
    return sorted(path.name for path in found)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_newest_by_number_stay_and_an_epoch_comes_after_its_steps(folder, count):
    expected = sorted(SERIES[: max(0, 4 - count)])
    assert obsolete(KeepLast(count), folder, "checkpoint-epoch10.pt") == expected


def test_without_a_count_all_stay(folder):
    assert obsolete(KeepLast(None), folder, "checkpoint-epoch10.pt") == []


@pytest.mark.parametrize("count", [None, 2])
def test_later_checkpoints_go_when_a_run_has_gone_back(folder, count):
    assert obsolete(KeepLast(count), folder, SERIES[1]) == sorted(SERIES[2:])


def test_a_file_that_could_not_be_written_makes_no_difference(folder):
    (folder / "checkpoint-epoch10.pt").unlink()
    assert obsolete(KeepLast(2), folder, "checkpoint-epoch10.pt") == SERIES[:1]


def test_the_best_epochs_stay_and_others_go(folder):
    (folder / best_name(4)).touch()
    assert obsolete(KeepBest(), folder, "checkpoint-epoch10.pt", [4, 9]) == [best_name(2)]
    assert obsolete(KeepBest(), folder, "checkpoint-epoch10.pt", [2, 4]) == []


class KeepEveryTenth:
    """A new way to keep checkpoints: this class, and a line where policies are listed."""

    def find_obsolete(self, folder, written, best_epochs):
        numbers = {path: checkpoint_number(path)[0] for path in folder.glob("checkpoint-*.pt")}
        return [path for path, epoch in numbers.items() if path != written and epoch % 10]


def test_a_new_way_to_keep_checkpoints_is_one_class(tmp_path):
    options = TrainerOptions(epochs=12)
    manager = CheckpointManager(tmp_path, options, logging.getLogger("test"))
    manager.retention = (*manager.retention, KeepEveryTenth())
    for epoch in range(1, 13):
        manager.save(lambda epoch=epoch: {"epoch": epoch}, epoch, step=epoch)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-epoch10.pt", "checkpoint-epoch12.pt"]
