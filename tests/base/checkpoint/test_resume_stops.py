"""A run that is asked to stop, anywhere, and trains on later: with the bits of one without."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.base.checkpoint.resumed_runs import check_same_end, stop_in_validation
from tests.helpers import make_trainer, small_config
from utils.checkpoints import list_checkpoints

ADAM = {"type": "Adam", "args": {"lr": 0.001}}
GAN = {
    "arch": {"type": "gan.GAN"},
    "loss": "binary_cross_entropy_with_logits",
    "metrics": [],
    "optimizer": ADAM,
    "discriminator_optimizer": ADAM,
}


def newest(folder):
    return list_checkpoints(folder)[0]


# -- in a validation -----------------------------------------------------------------------------


# The batches of the validation to stop at; the last one ends it, and with it the epoch.
STOPS = {
    "plain": ({}, [1, 3]),
    "ema": ({"ema_decay": 0.9}, [1, 3, 4, 5, 6]),
    "swa": ({"swa": {"start": 1}}, [4, 6]),
    "iteration mode": ({"len_epoch": 5}, [1, 3]),
    "iteration mode, swa": ({"len_epoch": 5, "swa": {"start": 1}}, [4, 6]),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_stop_in_a_validation_repeats_it_from_its_start(tmp_path, case):
    options, batches = STOPS[case]
    config = small_config(tmp_path, monitor="min val_loss", **options)
    config["data_loader"]["args"]["batch_size"] = 100  # three of them to validate with
    full = make_trainer(config, "full")
    full.train()
    for batch in batches:
        trainer = stop_in_validation(make_trainer(config, f"same{batch}"), batch)
        folder = trainer.checkpoint_dir
        if batch < batches[-1]:
            step = trainer.progress.step
            assert [path.name for path in folder.glob("*.pt")] == [
                f"checkpoint-epoch1-step{step}.pt"
            ]
        once = shutil.copytree(folder, folder.with_name(f"once{batch}"))
        twice = shutil.copytree(folder, folder.with_name(f"twice{batch}"))
        trainer.train()
        check_same_end(folder, full.checkpoint_dir)
        make_trainer(config, resume=newest(once)).train()
        check_same_end(once, full.checkpoint_dir)
        if batch < batches[-1]:
            stop_in_validation(make_trainer(config, resume=newest(twice)), batch)
            make_trainer(config, resume=newest(twice)).train()
            check_same_end(twice, full.checkpoint_dir)


# -- in a training -------------------------------------------------------------------------------


def stop_in_each_epoch(trainer, batch):
    """Makes a trainer ask to stop once in each epoch, from a batch on.

    Returns:
        The epochs in which it has asked; more are added while it trains.
    """
    after_step, asked = trainer.after_step, []

    def asking(*args):
        if trainer.progress.batch >= batch and trainer.progress.epoch not in asked:
            asked.append(trainer.progress.epoch)
            signal.raise_signal(signal.SIGINT)
        after_step(*args)

    trainer.after_step = asking
    return asked


OPTIONS = {
    "plain": {},
    "accumulation": {"accumulation_steps": 2},
    "longer than the data": {"len_epoch": 12},
    "gan": {"type": "gan.GanTrainer"},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_trainer_that_was_stopped_trains_on(tmp_path, case):
    """As in a notebook, several times."""
    config = small_config(tmp_path, **OPTIONS[case]) | (GAN if case == "gan" else {})
    full = make_trainer(config, "full")
    full.train()
    for batch in (1, 4, 9):
        trainer = make_trainer(config, f"stopped{batch}")
        asked = stop_in_each_epoch(trainer, batch)
        statuses = []
        for _ in range(3):
            trainer.train()
            statuses.append(trainer.stop.status)
        assert (asked, statuses) == ([1, 2], [130, 130, 0])
        check_same_end(trainer.checkpoint_dir, full.checkpoint_dir)
