"""The ``trainer`` section, and whether the rest of the config fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.check.small import find, run_check


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (3, "trainer: must be a mapping, not 3"),
        ({}, "trainer: needs 'epochs'"),
        ({"epochs": 0}, "trainer.epochs: 0 must be at least 1"),
        ({"epochs": 1.0}, "trainer.epochs: wants int, not 1.0"),
        ({"epochs": 1, "save_period": 0}, "trainer.save_period: 0 must be at least 1"),
        ({"epochs": 1, "keep_last": 0}, "trainer.keep_last: 0 must be at least 1"),
        ({"epochs": 1, "verbosity": 3}, "trainer.verbosity: wants 0 | 1 | 2, not 3"),
        (
            {"epochs": 1, "precision": "fp8"},
            "trainer.precision: wants 'fp32' | 'bf16' | 'fp16', not 'fp8'",
        ),
        ({"epochs": 1, "grad_clip_norm": 0}, "trainer.grad_clip_norm: 0 must be above 0, or null"),
        (
            {"epochs": 1, "ema_decay": 1.0},
            "trainer.ema_decay: 1.0 must lie between 0 and 1, or be null",
        ),
        (
            {"epochs": 1, "monitor": "lowest loss"},
            "trainer.monitor: 'lowest loss' must be 'off', 'min METRIC' or 'max METRIC', "
            "as 'min val_loss'",
        ),
        ({"epochs": 1, "tensorboard": "yes"}, "trainer.tensorboard: wants bool, not 'yes'"),
        ({"epochs": 1, "keep_lst": 2}, "trainer.keep_lst: unknown key (did you mean 'keep_last'?)"),
        (
            {"epochs": 1, "own_key": 2},
            "trainer.own_key: unknown key; Trainer has no such option. An option of your own is an",
        ),
        ({"epochs": 1, "stop_early": 2}, "trainer.stop_early: unknown key"),
        ({"epochs": 1, "len_epoch": "x"}, "trainer.len_epoch: wants int | None, not 'x'"),
        ({"epochs": 1, "type": "Trainr"}, "trainer.type: no 'Trainr' in trainer"),
        (
            {"epochs": 1, "type": "torch.nn.Linear"},
            "trainer.type: 'torch.nn.Linear' (torch.nn.modules.linear.Linear) ",
        ),
        ({"epochs": 1, "type": 5}, "trainer.type: "),
        ({"epochs": 1, "type": None}, "trainer.type: "),
    ],
    ids=repr,
)
def test_a_bad_trainer_section_is_reported(trainer: Any, message: str) -> None:
    (line,) = find(trainer=trainer)
    assert line.startswith(message)


@pytest.mark.parametrize(
    "trainer",
    [
        {"epochs": 1, "early_stop": None},
        {"epochs": 1, "len_epoch": 5},
        {"epochs": 1, "type": "gan.GanTrainer"},
        {"epochs": 1, "__comment": "x"},
        {"epochs": 1, "monitor": "max val_accuracy", "early_stop": 1.5},
        {"epochs": 1, "monitor": "off", "early_stop": 0},
        {"epochs": 1, "monitor": "off", "early_stop": -1},
    ],
    ids=repr,
)
def test_a_good_trainer_section_passes(trainer: Any) -> None:
    run_check(trainer=trainer)


# -- whether the sections fit each other -----------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.monitor=max val_acuracy"],
            "trainer.monitor: nothing is logged as 'val_acuracy' (did you mean 'val_accuracy'?)",
        ),
        (["trainer.early_stop=3"], "trainer.early_stop: needs trainer.monitor, for example "),
        (
            ["trainer.len_epoch=3", "trainer.warmup_steps=4"],
            "trainer.warmup_steps: 4 is more than the 3 optimizer steps of the run",
        ),
        (
            ["valid_data_loader={type: DigitsDataLoader}"],
            "data_loader.args.validation_split: is not used, because there is a valid_data_loader",
        ),
        (
            ["lr_scheduler={type: ReduceLROnPlateau}"],
            "lr_scheduler.type: ReduceLROnPlateau follows trainer.monitor, which is 'off'",
        ),
        (
            [
                "lr_scheduler={type: ReduceLROnPlateau}",
                "trainer.monitor=min val_loss",
                "trainer.lr_scheduler_interval=step",
            ],
            "trainer.lr_scheduler_interval: ReduceLROnPlateau moves after an epoch, not a step",
        ),
        (
            [
                "lr_scheduler={type: ReduceLROnPlateau, args: {mode: min}}",
                "trainer.monitor=max val_accuracy",
            ],
            "lr_scheduler.args.mode: 'min' contradicts trainer.monitor, 'max val_accuracy'",
        ),
        (
            [
                "lr_scheduler={type: ReduceLROnPlateau}",
                "trainer.monitor=min val_swa_loss",
                "trainer.swa={start: 2}",
                "trainer.epochs=2",
            ],
            "lr_scheduler.type: ReduceLROnPlateau follows trainer.monitor, but SWA has no numbers",
        ),
        (
            ["trainer.monitor=min val_swa_loss"],
            "trainer.monitor: nothing is logged as 'val_swa_loss' (did you mean 'val_loss'?)",
        ),
        (
            ["data_loader.args.validation_split=0", "trainer.monitor=min val_loss"],
            "trainer.monitor: nothing is logged as 'val_loss'",
        ),
        (
            ["transfer={freeze: '*', thaw: [{epoch: 2, params: a}]}"],
            "transfer.thaw.0.epoch: 2 is after the last of 1 epochs",
        ),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_sections_that_do_not_fit_each_other_are_reported(
    overrides: list[str], message: str
) -> None:
    (line,) = find(*overrides)
    assert line.startswith(message)


def test_a_trainer_says_itself_what_it_logs() -> None:
    run_check("trainer.type=gan.GanTrainer", "trainer.monitor=min val_frechet")


def test_a_save_dir_where_no_folder_can_be_made_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert find(f"trainer.save_dir={file}/runs") == [f"trainer.save_dir: {file} is not a folder"]
    (line,) = find(trainer={"epochs": 1, "save_dir": "a\nb"})
    assert line.endswith("cannot be the name of a folder")
    assert list(tmp_path.iterdir()) == [file]
