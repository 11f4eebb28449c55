"""The best value of a run that resumes never stays without its model."""

from __future__ import annotations

import logging
from math import inf
from pathlib import Path
from typing import Any

import pytest

from base.checkpoint.best_files import restore_best_files
from base.checkpoint.file import load, save
from base.loop.progress import Monitor
from utils.errors import UserError

LOGGER = logging.getLogger("test.best")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run of four epochs that keeps its two best ones, 2 and 1, and the last checkpoint."""
    folder = tmp_path / "old"
    folder.mkdir()
    files = {
        "checkpoint-epoch4": 4,
        "model_best": 2,
        "model_best-epoch2": 2,
        "model_best-epoch1": 1,
    }
    for name, epoch in files.items():
        save({"epoch": epoch}, folder / f"{name}.pt")
    return folder


def resume(folder: Path, checkpoint: Path) -> Monitor:
    """Resumes a run whose best epochs are 2 and 1."""
    folder.mkdir(exist_ok=True)
    monitor = Monitor("max", "x", keep_best=2)
    monitor.load_state_dict({"monitor_best": 0.9, "best": [[0.9, 2], [0.8, 1]]})
    restore_best_files(folder, checkpoint, monitor, 2, LOGGER)
    return monitor


def read_epochs(folder: Path) -> dict[str, Any]:
    return {path.stem: load(path)["epoch"] for path in sorted(folder.glob("model_best*.pt"))}


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))


def test_all_best_files_go_to_another_folder(old, tmp_path):
    """https://github.com/Lightning-AI/pytorch-lightning/issues/12045"""
    monitor = resume(tmp_path / "new", old / "checkpoint-epoch4.pt")
    assert (monitor.best, monitor.list_best_epochs()) == (0.9, [2, 1])
    best = {"model_best": 2, "model_best-epoch1": 1, "model_best-epoch2": 2}
    assert read_epochs(tmp_path / "new") == best


def test_a_damaged_best_file_is_replaced_by_another_one_of_its_epoch(old, tmp_path):
    damage(old / "model_best-epoch2.pt")
    resume(tmp_path / "new", old / "checkpoint-epoch4.pt")
    assert read_epochs(tmp_path / "new")["model_best"] == 2


@pytest.mark.parametrize("change", [damage, Path.unlink])
@pytest.mark.parametrize("name", ["old", "new"])
def test_a_best_epoch_without_an_intact_file_does_not_count(old, tmp_path, change, name, caplog):
    if change is damage and name == "old":
        pytest.skip("in its own folder, a file is not read in full: that would take too long")
    for path in ("model_best.pt", "model_best-epoch2.pt"):
        change(old / path)
    monitor = resume(tmp_path / name, old / "checkpoint-epoch4.pt")
    assert (monitor.best, monitor.list_best_epochs()) == (0.8, [1])
    assert "no intact file of the best epochs 2 (x 0.9): they do not count" in caplog.text


def test_a_single_file_outside_of_a_run_brings_only_itself(old, tmp_path):
    (tmp_path / "moved").mkdir()
    moved = (old / "model_best-epoch1.pt").rename(tmp_path / "moved/mine.pt")
    monitor = resume(tmp_path / "new", moved)
    assert (monitor.best, monitor.list_best_epochs()) == (0.8, [1])
    (tmp_path / "moved/mine.pt").unlink()
    assert resume(tmp_path / "new2", moved.with_name("checkpoint-epoch4.pt")).best == -inf


def test_a_full_disk_is_one_line(old, tmp_path, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UserError, match="new: cannot be written to: No space left on device"):
        resume(tmp_path / "new", old / "checkpoint-epoch4.pt")
    assert read_epochs(tmp_path / "new") == {}
