"""The manager of a run's checkpoints, which takes plain dicts: when, under which names, errors."""

from __future__ import annotations

import logging
import os
import threading
import time
from math import inf

import pytest
import torch

from base.checkpoint.file import load
from base.checkpoint.manager import CheckpointManager
from base.checkpoint.snapshot import copy_to_cpu
from base.checkpoint.trial_save import measure_save
from base.loop.progress import Monitor
from base.options import TrainerOptions
from utils.checkpoints import list_checkpoints
from utils.errors import UserError

LOGGER = logging.getLogger("test.manager")
SEVERAL_BEST = {"keep_best": 2, "monitor": "max accuracy"}


def make_manager(folder, **options):
    return CheckpointManager(folder, TrainerOptions(**{"epochs": 9} | options), LOGGER)


def make_state(epoch, **more):
    return {"epoch": epoch, "state_dict": {"w": torch.full((1000,), float(epoch))}} | more


def save(manager, epoch, **how):
    """Saves an epoch of ten steps."""
    manager.save(lambda: make_state(epoch), epoch, 10 * epoch, **how)


def save_and_wait(manager, state):
    manager.save(lambda: state, state["epoch"], 10)
    manager.wait()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- when ----------------------------------------------------------------------------------------


def test_the_next_checkpoint_is_due_so_many_steps_after_the_last_one_of_any_kind(tmp_path):
    manager = make_manager(tmp_path, save_steps=4)
    assert manager.next_step == 4
    manager.save(lambda: make_state(0), "1-step4", 4)
    assert manager.next_step == 8
    manager.save(lambda: make_state(1), 1, 6)
    assert manager.next_step == 10
    manager.resume_at(tmp_path / "checkpoint-epoch1-step4.pt", 4, Monitor("off", ""))
    assert manager.next_step == 8


def test_minutes_count_from_the_end_of_the_last_checkpoint(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    manager = make_manager(tmp_path, save_minutes=0.5)
    assert manager.next_time == 130

    def make_slow_state():
        now[0] += 7
        return make_state(0)

    now[0] = 131
    manager.save(make_slow_state, "1-step100", 100)
    assert manager.next_time == 131 + 7 + 30


def test_minutes_count_from_the_start_of_a_checkpoint_in_the_background(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    manager = make_manager(tmp_path, save_minutes=0.5, async_save=True)

    def make_slow_state():
        now[0] += 7
        return make_state(0)

    manager.save(make_slow_state, "1-step100", 100)
    manager.wait()
    assert manager.next_time == 130


def test_without_options_no_checkpoint_inside_an_epoch_is_due(tmp_path):
    manager = make_manager(tmp_path)
    save(manager, 1)
    assert (manager.next_step, manager.next_time) == (inf, inf)


# -- names ---------------------------------------------------------------------------------------


def test_the_names_tell_the_epoch_and_the_step(tmp_path):
    manager = make_manager(tmp_path)
    manager.save(lambda: make_state(0), "1-step4", 4)
    save(manager, 1)
    assert names(tmp_path) == ["checkpoint-epoch1-step4.pt", "checkpoint-epoch1.pt"]
    assert load(tmp_path / "checkpoint-epoch1.pt")["epoch"] == 1


def test_the_best_epoch_has_a_second_name(tmp_path):
    manager = make_manager(tmp_path)
    save(manager, 1, is_best=True, best_epochs=[1])
    save(manager, 2, best_epochs=[1])
    assert names(tmp_path) == ["checkpoint-epoch1.pt", "checkpoint-epoch2.pt", "model_best.pt"]
    assert load(tmp_path / "model_best.pt")["epoch"] == 1


def test_a_best_epoch_that_is_not_due_has_no_other_name(tmp_path):
    save(make_manager(tmp_path), 1, is_best=True, in_series=False, best_epochs=[1])
    assert names(tmp_path) == ["model_best.pt"]


def test_several_best_epochs_have_numbered_names(tmp_path):
    manager = make_manager(tmp_path, keep_last=1, **SEVERAL_BEST)
    save(manager, 1, is_best=True, best_epochs=[1])
    save(manager, 2, in_series=False, best_epochs=[1, 2])
    save(manager, 3, best_epochs=[1, 2])
    save(manager, 4, is_best=True, best_epochs=[4, 1])
    best = ["model_best-epoch1.pt", "model_best-epoch4.pt", "model_best.pt"]
    assert names(tmp_path) == ["checkpoint-epoch4.pt", *best]
    assert load(tmp_path / "model_best.pt")["epoch"] == 4
    assert load(tmp_path / "model_best-epoch1.pt")["epoch"] == 1


def test_a_checkpoint_inside_an_epoch_is_never_a_best_one(tmp_path):
    manager = make_manager(tmp_path, **SEVERAL_BEST)
    state = make_state(1) | {"within": {"place": 3}}  # of the second epoch; the first one was good
    manager.save(lambda: state, "2-step13", 13, best_epochs=[1])
    assert names(tmp_path) == ["checkpoint-epoch2-step13.pt"]


# -- while the training goes on ------------------------------------------------------------------


def test_a_save_in_the_background_writes_the_state_of_its_time(tmp_path):
    manager = make_manager(tmp_path, async_save=True)
    state = make_state(1)
    for epoch in range(1, 4):
        state["epoch"] = epoch
        state["state_dict"]["w"].fill_(epoch)
        manager.save(lambda: state, epoch, epoch)
        state["state_dict"]["w"].fill_(-1)
    manager.wait()
    for epoch in range(1, 4):
        weights = load(tmp_path / f"checkpoint-epoch{epoch}.pt")["state_dict"]["w"]
        assert torch.equal(weights, torch.full((1000,), float(epoch)))


def test_a_save_in_the_background_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    fsync, disk_is_ready = os.fsync, threading.Event()
    monkeypatch.setattr("os.fsync", lambda handle: (disk_is_ready.wait(60), fsync(handle)))
    manager = make_manager(tmp_path, async_save=True)
    save(manager, 1)
    assert list_checkpoints(tmp_path) == []
    disk_is_ready.set()
    manager.wait()
    assert names(tmp_path) == ["checkpoint-epoch1.pt"]


def test_a_copy_in_the_cpus_memory_is_changed_by_no_later_step():
    tensor = torch.arange(6.0)
    state = {
        "a": tensor,
        "b": [tensor[2:], (tensor, {"c": tensor.view(2, 3)})],
        "d": 5,
        "e": "text",
    }
    copied = copy_to_cpu(state)
    tensor.fill_(7)
    assert copied["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert copied["b"][0].tolist() == [2, 3, 4, 5]
    assert copied["b"][1][1]["c"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (copied["d"], copied["e"], type(copied["b"][1])) == (5, "text", tuple)


def test_a_copy_uses_the_memory_of_an_earlier_one_of_the_same_shape():
    earlier = copy_to_cpu({"a": torch.zeros(3), "b": torch.zeros(2)})
    later = copy_to_cpu({"a": torch.ones(3), "b": torch.ones(4)}, earlier)
    assert later["a"].data_ptr() == earlier["a"].data_ptr()
    assert (later["a"].tolist(), later["b"].tolist()) == ([1, 1, 1], [1, 1, 1, 1])


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("async_save", [False, True])
def test_a_checkpoint_that_cannot_be_written_stops_the_run(tmp_path, async_save):
    manager = make_manager(tmp_path / "run", async_save=async_save)
    with pytest.raises(UserError, match="could not be written: No such file or directory"):
        save_and_wait(manager, make_state(1))
    manager.wait()  # an error is raised once


@pytest.mark.parametrize("async_save", [False, True])
def test_a_run_may_go_on_without_a_checkpoint(tmp_path, caplog, async_save):
    folder = tmp_path / "run"
    manager = make_manager(folder, async_save=async_save, on_save_error="go_on")
    save(manager, 1)
    manager.wait()
    assert caplog.text.count("training continues, as trainer.on_save_error says") == 1
    folder.mkdir()
    save(manager, 2)
    manager.wait()
    assert names(folder) == ["checkpoint-epoch2.pt"]
    assert len(caplog.records) == 1


def test_a_failure_in_the_background_can_be_seen_before_the_next_save(tmp_path):
    manager = make_manager(tmp_path / "run", async_save=True)
    save(manager, 1)
    end = time.monotonic() + 60
    while manager.error is None and time.monotonic() < end:
        time.sleep(0.01)
    assert "could not be written" in str(manager.error)
    with pytest.raises(UserError, match="could not be written"):
        manager.wait()
    assert manager.error is None


def test_a_failure_in_the_background_is_raised_by_the_next_save(tmp_path):
    manager = make_manager(tmp_path / "run", async_save=True)
    save(manager, 1)
    with pytest.raises(UserError, match=r"epoch1\.pt: the checkpoint could not be"):
        save(manager, 2)


@pytest.mark.parametrize("async_save", [False, True])
def test_a_fault_of_the_program_is_raised_whatever_the_options_say(tmp_path, async_save):
    manager = make_manager(tmp_path, async_save=async_save, on_save_error="go_on")
    state = make_state(1, odd=lambda: None)  # which pickle refuses
    with pytest.raises(Exception, match="lambda"):
        save_and_wait(manager, state)
    assert names(tmp_path) == []


def test_measuring_a_save_leaves_nothing(tmp_path):
    manager = make_manager(tmp_path)
    measure_save(manager, make_state(1))
    assert manager.seconds > 0
    assert names(tmp_path) == []
    with pytest.raises(UserError, match="could not be written"):
        measure_save(make_manager(tmp_path / "run"), make_state(1))
