"""When checkpoints are written, which are kept, and what follows when one cannot be."""

from __future__ import annotations

import json
import logging
import re

import pytest

from base.checkpoint import file as checkpoint
from base.checkpoint import manager as saving
from base.checkpoint.manager import Saver
from base.options import TrainerOptions
from tests.helpers import load, make_trainer, small_config
from utils.errors import UserError

LOGGER = logging.getLogger("test.saving")
VALUES = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0]  # of epochs 1 to 6


def scripted(config, run_id="run", resume=None, values=VALUES):
    """A trainer whose epochs give ``values`` as val_loss, and train nothing."""
    trainer = make_trainer(config, run_id, resume=resume)
    trainer._train_epoch = lambda epoch: {"val_loss": values[epoch - 1]}
    if resume is not None:
        trainer._restore_rest()
    return trainer


def names(trainer, pattern="*.pt"):
    return sorted(path.name for path in trainer.checkpoint_dir.glob(pattern))


def steps(trainer):
    return [int(re.search(r"step(\d+)", name)[1]) for name in names(trainer, "*-step*.pt")]


def quick(tmp_path, **trainer):
    """Three steps an epoch."""
    config = small_config(tmp_path, **trainer)
    config["data_loader"]["args"]["batch_size"] = 480
    return config


def test_save_steps_counts_from_the_last_checkpoint_of_any_kind(tmp_path):
    trainer = make_trainer(quick(tmp_path, epochs=3, save_steps=2))
    trainer.train()
    assert steps(trainer) == [2, 5, 8]
    assert [load(path)["step"] for path in sorted(trainer.checkpoint_dir.glob("*-step*.pt"))] == [
        2,
        5,
        8,
    ]


def test_save_steps_goes_over_the_epoch_when_epochs_are_not_saved(tmp_path):
    trainer = make_trainer(quick(tmp_path, epochs=4, save_steps=4, save_period=9))
    trainer.train()
    found = [
        "checkpoint-epoch2-step4.pt",
        "checkpoint-epoch3-step8.pt",
        "checkpoint-epoch4-step12.pt",
    ]
    assert names(trainer) == [*found, "checkpoint-epoch4.pt"]


def test_save_steps_goes_on_counting_after_a_resume(tmp_path):
    config = quick(tmp_path, epochs=4, save_steps=4, save_period=9)
    trainer = make_trainer(config)
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch2-step4.pt"
    for later in set(trainer.checkpoint_dir.glob("*.pt")) - {path}:
        later.unlink()
    resumed = make_trainer(config, resume=path)
    resumed.train()
    assert steps(resumed) == [4, 8, 12]


def test_save_steps_are_on_an_optimizer_step_boundary(tmp_path):
    config = small_config(tmp_path, epochs=1, save_steps=1, accumulation_steps=4)
    trainer = make_trainer(config)
    trainer.train()
    found = [load(path) for path in sorted(trainer.checkpoint_dir.glob("*-step*.pt"))]
    assert [state["within"]["place"] for state in found] == [4, 8, 9]


def test_save_minutes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    saver = Saver(tmp_path, TrainerOptions(epochs=1, save_minutes=0.5), LOGGER)
    now[0] = 29.9
    assert not saver.is_overdue()
    now[0] = 30.0
    assert saver.is_overdue()
    saver.save(lambda: {"epoch": 0}, "checkpoint-epoch1-step100.pt", 100)
    assert not saver.is_overdue()
    now[0] = 60.0
    assert saver.is_overdue()


def test_without_options_nothing_is_due_within_an_epoch(tmp_path):
    trainer = make_trainer(quick(tmp_path, epochs=2))
    trainer.train()
    assert names(trainer) == ["checkpoint-epoch1.pt", "checkpoint-epoch2.pt"]


def test_keep_last_counts_checkpoints_within_epochs_too(tmp_path):
    trainer = make_trainer(quick(tmp_path, epochs=3, save_steps=1, keep_last=3))
    trainer.train()
    assert names(trainer) == [
        "checkpoint-epoch3-step8.pt",
        "checkpoint-epoch3-step9.pt",
        "checkpoint-epoch3.pt",
    ]


def test_the_epoch_comes_after_its_steps(tmp_path):
    for name in (
        "checkpoint-epoch2-step7.pt",
        "checkpoint-epoch2.pt",
        "checkpoint-epoch10-step70.pt",
    ):
        checkpoint.save({"epoch": 1}, tmp_path / name)
    checkpoint.prune(tmp_path, 2, (10, 70))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-epoch10-step70.pt",
        "checkpoint-epoch2.pt",
    ]


@pytest.mark.parametrize(("mode", "best"), [("max", [5, 3, 1]), ("min", [2, 4, 6])])
@pytest.mark.parametrize("save_period", [1, 4])
def test_the_three_best_are_kept(tmp_path, mode, best, save_period):
    config = small_config(
        tmp_path,
        epochs=6,
        keep_best=3,
        keep_last=1,
        monitor=f"{mode} val_loss",
        save_period=save_period,
    )
    trainer = scripted(config)
    trainer.train()
    assert names(trainer, "model*") == sorted(
        [*(f"model_best-epoch{epoch}.pt" for epoch in best), "model_best.pt"]
    )
    assert names(trainer, "check*") == ["checkpoint-epoch6.pt"]
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == best[0]
    for epoch in best:
        assert load(trainer.checkpoint_dir / f"model_best-epoch{epoch}.pt")["epoch"] == epoch


@pytest.mark.parametrize("after", range(1, 6))
@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_three_best_are_the_same_through_a_resume(tmp_path, mode, after):
    config = small_config(tmp_path, epochs=after, keep_best=3, monitor=f"{mode} val_loss")
    first = scripted(config)
    first.train()
    config["trainer"]["epochs"] = 6
    resumed = scripted(config, resume=first.checkpoint_dir / f"checkpoint-epoch{after}.pt")
    resumed.train()
    best = {"max": [5, 3, 1], "min": [2, 4, 6]}[mode]
    assert names(resumed, "model*") == sorted(
        [*(f"model_best-epoch{epoch}.pt" for epoch in best), "model_best.pt"]
    )
    assert load(resumed.checkpoint_dir / "model_best.pt")["epoch"] == best[0]
    assert [epoch for _, epoch in resumed._saver.best] == best


def test_an_equal_value_is_no_better(tmp_path):
    trainer = scripted(
        small_config(tmp_path, epochs=3, keep_best=2, monitor="max val_loss"),
        values=[1.0, 1.0, 1.0],
    )
    trainer.train()
    assert names(trainer, "model*") == [
        "model_best-epoch1.pt",
        "model_best-epoch2.pt",
        "model_best.pt",
    ]
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 1


def test_going_back_drops_what_came_later(tmp_path):
    config = quick(tmp_path, epochs=3, save_steps=1)
    trainer = make_trainer(config)
    trainer.train()
    config["trainer"] |= {"epochs": 2, "save_steps": None}
    resumed = make_trainer(config, resume=trainer.checkpoint_dir / "checkpoint-epoch2-step5.pt")
    assert "checkpoint-epoch3.pt" in names(
        resumed
    )  # until the first save of the run that goes back
    resumed.train()
    assert names(resumed)[-1] == "checkpoint-epoch2.pt"
    assert steps(resumed) == [1, 2, 3, 4, 5, 6]
    lines = (resumed.checkpoint_dir / "log" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


@pytest.mark.parametrize("keep_best", [1, 3])
def test_going_back_to_before_the_best_gives_the_best_of_then(tmp_path, keep_best):
    config = small_config(tmp_path, epochs=5, keep_best=keep_best, monitor="max val_loss")
    trainer = scripted(config)
    trainer.train()  # the best is epoch 5
    config["trainer"]["epochs"] = 4
    resumed = scripted(config, resume=trainer.checkpoint_dir / "checkpoint-epoch3.pt")
    resumed.train()
    assert load(resumed.checkpoint_dir / "model_best.pt")["epoch"] == 3
    resumed = scripted(
        config, resume=trainer.checkpoint_dir / "checkpoint-epoch2.pt", values=[3.0, 1.0, 0.0, 0.0]
    )
    resumed.train()
    assert load(resumed.checkpoint_dir / "model_best.pt")["monitor_best"] == 3.0


def test_a_checkpoint_that_tells_no_best_epochs_is_gone_on_from(tmp_path):
    """pytorch-template's, and our own older ones, know the best value only."""
    config = small_config(tmp_path, epochs=1, monitor="max val_loss", save_period=3)
    trainer = scripted(config)
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    state = load(path)
    del state["best"]
    checkpoint.save(state, path)
    config["trainer"]["epochs"] = 3
    resumed = scripted(config, resume=path)
    resumed.train()
    assert names(resumed, "check*")[-1] == "checkpoint-epoch3.pt"


@pytest.mark.parametrize("policy", ["stop", "go_on"])
def test_on_save_error(tmp_path, monkeypatch, caplog, policy):
    config = quick(tmp_path, epochs=2, on_save_error=policy)
    trainer, save = make_trainer(config), saving.save

    def failing(state, path):
        if state["epoch"] == 1:
            raise UserError(f"{path}: the checkpoint could not be written: No space left on device")
        save(state, path)

    monkeypatch.setattr(saving, "save", failing)
    if policy == "stop":
        with pytest.raises(UserError, match="No space left"):
            trainer.train()
        return
    trainer.train()
    assert caplog.text.count("going on without it, as trainer.on_save_error says") == 1
    assert names(trainer) == ["checkpoint-epoch2.pt"]


def test_a_snapshot_shares_no_memory(tmp_path):
    import torch

    tensor = torch.arange(6.0)
    state = {
        "a": tensor,
        "b": [tensor[2:], (tensor, {"c": tensor.view(2, 3)})],
        "d": 5,
        "e": "text",
    }
    copied = saving.snapshot(state)
    tensor.fill_(7)
    assert copied["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert copied["b"][0].tolist() == [2, 3, 4, 5]
    assert copied["b"][1][1]["c"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (copied["d"], copied["e"], type(copied["b"][1])) == (5, "text", tuple)
