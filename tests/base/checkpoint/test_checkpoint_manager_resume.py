"""The manager of a run's checkpoints after a kill, and for a run that goes back."""

from __future__ import annotations

import logging
import os
import signal
import sys

import pytest
import torch

from base.checkpoint.file import load, load_newest, save
from base.checkpoint.manager import CheckpointManager
from base.checkpoint.sharded import SUFFIX
from base.loop.progress import Monitor
from base.options import TrainerOptions
from utils.checkpoints import list_checkpoints
from utils.errors import UserError

LOGGER = logging.getLogger("test.manager")
FILE_CHANGES = ("os.rename", "os.remove", "os.link")  # audit events of Python


def make_manager(folder, **options):
    return CheckpointManager(folder, TrainerOptions(**{"epochs": 9} | options), LOGGER)


def save_epochs(manager, epochs, best_epochs):
    """Saves epochs of ten steps; ``best_epochs[n]`` are the best ones after epoch n."""
    for epoch in epochs:
        best = best_epochs[epoch]
        state = {"epoch": epoch, "state_dict": {"w": torch.full((10,), float(epoch))}}
        manager.save(lambda state=state: state, epoch, 10 * epoch, best[0] == epoch, True, best)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


BEST_EPOCHS = {1: [1], 2: [1, 2], 3: [3, 1], 4: [4, 3], 5: [4, 3]}


def save_and_be_killed(folder, options, number):
    """Forks a process that saves two epochs, and is killed at its change of files ``number``.

    Returns:
        Whether it was killed, and not done before.
    """
    if (pid := os.fork()) == 0:
        left = [number]

        def watch(event, args):
            if event in FILE_CHANGES or (event == "open" and str(args[1])[:1] == "w"):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        manager = make_manager(folder, **options)
        sys.addaudithook(watch)
        save_epochs(manager, [3, 4], BEST_EPOCHS)
        manager.wait()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("async_save", [False, True])
def test_a_kill_between_any_two_files_leaves_good_checkpoints(tmp_path, async_save):
    options = {"keep_last": 1, "keep_best": 2, "monitor": "max x", "async_save": async_save}
    number, was_killed = 0, True
    while was_killed:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        first = make_manager(folder, **options)
        save_epochs(first, [1, 2], BEST_EPOCHS)
        first.wait()
        was_killed = save_and_be_killed(folder, options, number)
        for path in folder.glob("*.pt"):
            load(path)
        state, path = load_newest(list_checkpoints(folder)[0], LOGGER)
        assert state["epoch"] in (2, 3, 4)
        manager = make_manager(folder, **options)
        manager.resume_at(path, 10 * state["epoch"], make_monitor(BEST_EPOCHS[state["epoch"]]))
        assert load(folder / "model_best.pt")["epoch"] == BEST_EPOCHS[state["epoch"]][0]
        save_epochs(manager, range(state["epoch"] + 1, 6), BEST_EPOCHS)
        manager.wait()
        best = ["model_best-epoch3.pt", "model_best-epoch4.pt", "model_best.pt"]
        assert names(folder) == ["checkpoint-epoch5.pt", *best]
    assert number > 12


def make_monitor(epochs):
    """A monitor with these best epochs, the best first."""
    monitor = Monitor("max", "x", keep_best=len(epochs))
    monitor.load_state_dict({"monitor_best": 9.0, "best": [[9.0 - e, e] for e in epochs]})
    return monitor


def test_resuming_deletes_what_a_killed_save_has_left(tmp_path):
    manager = make_manager(tmp_path)
    save_epochs(manager, [1], BEST_EPOCHS)
    (tmp_path / ".checkpoint-epoch2.pt.77.tmp").touch()
    make_manager(tmp_path).resume_at(tmp_path / "checkpoint-epoch1.pt", 10, make_monitor([1]))
    assert names(tmp_path) == ["checkpoint-epoch1.pt", "model_best.pt"]


def test_a_best_model_that_a_kill_prevented_is_written_on_resuming(tmp_path):
    save_epochs(make_manager(tmp_path), [1], BEST_EPOCHS)
    (tmp_path / "model_best.pt").unlink()
    make_manager(tmp_path).resume_at(tmp_path / "checkpoint-epoch1.pt", 10, make_monitor([1]))
    assert load(tmp_path / "model_best.pt")["epoch"] == 1


@pytest.mark.parametrize("keep_best", [1, 2])
def test_a_run_that_goes_back_has_the_best_model_of_then(tmp_path, keep_best):
    manager = make_manager(tmp_path, keep_best=keep_best, monitor="max x", save_steps=7)
    save_epochs(manager, [1, 2, 3], BEST_EPOCHS)
    manager.resume_at(tmp_path / "checkpoint-epoch2.pt", 20, make_monitor([1, 2]))
    assert load(tmp_path / "model_best.pt")["epoch"] == 1
    assert manager.next_step == 27


def test_the_shards_of_a_best_model_that_is_replaced_are_deleted(tmp_path):
    save_epochs(make_manager(tmp_path), [1], BEST_EPOCHS)
    shards = tmp_path / f"checkpoint-epoch3.0123abcd{SUFFIX}"
    shards.mkdir()
    save({"epoch": 3, "shards": {"folder": shards.name, "crc32": {}}}, tmp_path / "model_best.pt")
    make_manager(tmp_path).resume_at(tmp_path / "checkpoint-epoch1.pt", 10, make_monitor([1]))
    assert names(tmp_path) == ["checkpoint-epoch1.pt", "model_best.pt"]


def test_a_run_in_a_new_folder_gets_the_best_model_of_then_and_leaves_the_old_ones(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    save_epochs(make_manager(old), [1, 2, 3], BEST_EPOCHS)
    make_manager(new).resume_at(old / "checkpoint-epoch2.pt", 20, make_monitor([1]))
    assert load(old / "model_best.pt")["epoch"] == 3
    assert load(new / "model_best.pt")["epoch"] == 1
    assert names(new) == ["model_best.pt"]


def test_a_best_epoch_whose_file_is_gone_changes_nothing(tmp_path):
    save_epochs(make_manager(tmp_path), [1, 2, 3], BEST_EPOCHS)
    make_manager(tmp_path).resume_at(tmp_path / "checkpoint-epoch3.pt", 30, make_monitor([9]))
    assert load(tmp_path / "model_best.pt")["epoch"] == 3


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path, monkeypatch):
    save_epochs(make_manager(tmp_path), [1], BEST_EPOCHS)
    (tmp_path / "model_best.pt").unlink()

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UserError, match="cannot be written to: Read-only file system"):
        make_manager(tmp_path).resume_at(tmp_path / "checkpoint-epoch1.pt", 10, make_monitor([1]))
