"""Runs of several ranks that resume: with as many ranks to the same bits."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from tests.base.checkpoint.resumed_runs import check_same_end, copy_checkpoint
from tests.base.parallel.spread_runs import check_same_lines, table_config, train
from tests.helpers import make_trainer
from tests.ranks import in_ranks
from tests.torture.harness import times
from utils.checkpoints import list_checkpoints
from utils.distributed import rank

STEPS = 24  # of two epochs


@pytest.mark.parametrize("trainer", [{}, {"accumulation_steps": 3, "ema_decay": 0.9}])
def test_two_ranks_resume_any_checkpoint_to_the_same_bits(tmp_path, trainer):
    config = table_config(tmp_path, **{"epochs": 2, "save_steps": 2} | trainer)
    config["arch"]["args"]["dropout"] = 0.3
    config["data_loader"]["args"]["batch_size"] = 73
    config["metrics"].append({"type": "AUROC", "args": {"task": "binary", "validate_args": False}})
    in_ranks(2, train, config, "full")
    *checkpoints, _ = sorted((tmp_path / "small/full").glob("checkpoint-*.pt"))
    assert len(checkpoints) >= 2
    for path in checkpoints:
        folder = tmp_path / "small" / path.stem
        in_ranks(2, train, config, None, copy_checkpoint(path, folder))
        check_same_end(folder, tmp_path / "small/full")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_continues_at_the_same_batch(tmp_path, before, after):
    config = table_config(tmp_path, epochs=2, save_steps=4)
    in_ranks(before, train, config, "full")
    checkpoint = tmp_path / "small/full/checkpoint-epoch1-step8.pt"
    path = copy_checkpoint(checkpoint, tmp_path / "small/other")
    in_ranks(after, train, config, None, path)
    warning = f"The resume is not exact, because of changes: processes {before} -> {after}"
    assert warning in (path.parent / "log/info.log").read_text()
    check_same_lines(path.parent, tmp_path / "small/full")


def test_ranks_that_are_killed_at_any_time_resume_to_the_same_bits(tmp_path):
    config = table_config(tmp_path, epochs=2, save_steps=1, keep_last=2)
    config["arch"]["args"]["dropout"] = 0.3
    in_ranks(2, train, config, "full")
    kills = times(30, 4)
    chance = random.Random(kills)
    for kill in range(kills):
        folder = tmp_path / f"small/killed{kill}"
        victim, step = chance.randrange(2), chance.randrange(2, STEPS)
        with pytest.raises((AssertionError, EOFError)):
            in_ranks(2, train_and_die, config, folder.name, victim, step, chance.random() / 100)
        in_ranks(2, train, config, None, list_checkpoints(folder)[0])
        check_same_end(folder, tmp_path / "small/full")


def train_and_die(config, run_id, victim, step, seconds):
    """Trains with a rank that is killed so many seconds after a step."""
    trainer = make_trainer(config, run_id)
    steps = []

    def count(*_):
        steps.append(1)
        if rank() == victim and len(steps) == step:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()

    trainer.optimizer.register_step_post_hook(count)
    trainer.train()
    time.sleep(1)
