"""Validations inside epochs, and runs that end after a number of steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.base.checkpoint.resumed_runs import check_same_end, read_lines, stop_in_validation
from tests.helpers import differences, load, make_trainer, small_config
from utils.checkpoints import list_checkpoints
from utils.errors import UserError

STEPS_PER_EPOCH = 9  # of 1,150 samples in batches of 128


def train(config: dict[str, Any], run_id: str) -> Path:
    trainer = make_trainer(config, run_id)
    trainer.train()
    folder: Path = trainer.checkpoint_dir
    return folder


def weights(folder: Path, name: str) -> Any:
    return load(folder / name)["state_dict"]


def test_each_validation_has_a_row_a_checkpoint_and_a_chance_to_be_the_best(tmp_path: Path) -> None:
    folder = train(small_config(tmp_path, validate_steps=4, monitor="min val_loss"), "run")
    rows = read_lines(folder)
    places = [(row["epoch"], row.get("batch"), row["step"]) for row in rows]
    assert places == [(1, 4, 4), (1, 8, 8), (1, None, 9), (2, 3, 12), (2, 7, 16), (2, None, 18)]
    names = [path.name for path in reversed(list_checkpoints(folder))]
    assert names == [
        "checkpoint-epoch1-step4.pt",
        "checkpoint-epoch1-step8.pt",
        "checkpoint-epoch1.pt",
        "checkpoint-epoch2-step12.pt",
        "checkpoint-epoch2-step16.pt",
        "checkpoint-epoch2.pt",
    ]
    best = min(range(6), key=lambda index: rows[index]["val_loss"])
    assert differences(load(folder / "model_best.pt"), load(folder / names[best])) == []


def test_a_projects_save_checkpoint_gets_numbers_of_epochs_only(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, validate_steps=4, save_steps=3))
    save, epochs = trainer._save_checkpoint, []

    def save_and_note(epoch: int, save_best: bool = False) -> None:
        epochs.append(epoch)
        save(epoch, save_best)

    trainer._save_checkpoint = save_and_note
    trainer.train()
    assert epochs == [1, 2]


def test_validations_change_nothing_in_the_training(tmp_path: Path) -> None:
    config = small_config(tmp_path, validate_steps=4)
    config["arch"]["args"]["dropout"] = 0.5  # draws random numbers in each step
    validated = train(config, "validated")
    plain = train(config | {"trainer": config["trainer"] | {"validate_steps": None}}, "plain")
    name = "checkpoint-epoch2.pt"
    assert differences(weights(validated, name), weights(plain, name)) == []
    epochs = [row for row in read_lines(validated) if "batch" not in row]
    assert epochs == read_lines(plain)


def test_a_validation_at_the_last_step_of_an_epoch_is_that_of_the_epoch(tmp_path: Path) -> None:
    config = small_config(tmp_path, validate_steps=STEPS_PER_EPOCH, epochs=1)
    assert [row.get("batch") for row in read_lines(train(config, "run"))] == [None]


@pytest.mark.parametrize("case", ["plain", "accumulation", "ema", "gan"])
def test_a_run_resumes_at_a_validation_inside_an_epoch(tmp_path: Path, case: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "accumulation": {"accumulation_steps": 2},
        "ema": {"ema_decay": 0.9},
        "gan": {"type": "gan.GanTrainer"},
    }
    config = small_config(tmp_path, validate_steps=2, **options[case])
    if case == "gan":
        adam = {"type": "Adam", "args": {"lr": 0.001}}
        config |= {"arch": {"type": "gan.GAN"}, "loss": "binary_cross_entropy_with_logits"}
        config |= {"metrics": [], "optimizer": adam, "discriminator_optimizer": adam}
    full = train(config, "full")
    for index in (1, 3):
        resumed = shutil.copytree(full, full.with_name(f"resumed{index}"))
        *later, path = list_checkpoints(resumed)[: -index or None]
        for other in later:
            other.unlink()
        make_trainer(config, resume=path).train()
        check_same_end(resumed, full)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_stop_in_a_validation_inside_an_epoch_repeats_it(
    tmp_path: Path, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, validate_steps=4, monitor="min val_loss")
    full = train(config, "full")
    trainer = stop_in_validation(make_trainer(config, "stopped"), batch)
    assert trainer.progress.step == 4
    make_trainer(config, resume=list_checkpoints(trainer.checkpoint_dir)[0]).train()
    check_same_end(trainer.checkpoint_dir, full)
    assert "checkpoint-epoch1-step4.pt in epoch 1, after step 4." in caplog.text


def test_patience_counts_validations(tmp_path: Path) -> None:
    config = small_config(tmp_path, validate_steps=2, monitor="min val_loss", early_stop=1)
    trainer = make_trainer(config)
    trainer.criterion = lambda output, target: output.sum() * 0  # nothing improves
    trainer.train()
    folder = trainer.checkpoint_dir
    assert [row["step"] for row in read_lines(folder)] == [2, 4, 6]
    resumed = make_trainer(config, resume=list_checkpoints(folder)[0])
    resumed.train()
    assert resumed.progress.step == 6


def test_a_plateau_schedule_follows_each_validation(tmp_path: Path) -> None:
    config = small_config(tmp_path, validate_steps=3, monitor="min val_loss", epochs=1)
    config["lr_scheduler"] = {"type": "ReduceLROnPlateau", "args": {"patience": 0, "factor": 0.5}}
    trainer = make_trainer(config)
    trainer.criterion = lambda output, target: output.sum() * 0  # nothing improves
    trainer.train()
    rates = [row["lr"] for row in read_lines(trainer.checkpoint_dir)]
    assert rates == [0.01, 0.01, 0.005]


def test_max_steps_ends_a_run_inside_an_epoch_and_more_continue_it(tmp_path: Path) -> None:
    config = small_config(tmp_path, max_steps=12)
    del config["trainer"]["epochs"]
    folder = train(config, "short")
    assert [(row["epoch"], row["step"]) for row in read_lines(folder)] == [(1, 9), (2, 12)]
    assert list_checkpoints(folder)[0].name == "checkpoint-epoch2-step12.pt"
    again = make_trainer(config, resume=list_checkpoints(folder)[0])
    again.train()
    assert again.progress.step == 12

    config["trainer"]["max_steps"] = 20
    make_trainer(config, resume=list_checkpoints(folder)[0]).train()
    long = train(config, "long")
    name = "checkpoint-epoch3-step20.pt"
    assert differences(weights(folder, name), weights(long, name)) == []


def test_a_trainer_without_measure_cannot_validate_inside_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer import trainer

    class Bare(trainer.BaseTrainer):
        def _train_epoch(self, epoch: int) -> dict[str, float]:
            return {}

    Bare.__module__ = trainer.__name__  # other modules are not trusted

    monkeypatch.setattr(trainer, "Bare", Bare, raising=False)
    config = small_config(tmp_path, type="Bare", validate_steps=5)
    with pytest.raises(UserError, match=r"trainer.validate_steps: needs a method measure"):
        make_trainer(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validate_steps": 0}, "validate_steps: 0 must be at least 1"),
        ({"max_steps": 0}, "^trainer.max_steps: 0 must be at least 1$"),
        ({"validate_steps": 9, "max_steps": 8}, "validate_steps: 9 is more than max_steps, 8"),
        ({"validate_steps": 19}, "validate_steps: 19 is more than the 18 optimizer steps"),
        ({"validate_steps": 9, "len_epoch": 4}, "validate_steps: 9 is more than the 8 optimizer"),
    ],
)
def test_steps_that_cannot_be_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_trainer(small_config(tmp_path, **options))
