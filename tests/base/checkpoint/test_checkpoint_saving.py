"""Which checkpoints a training leaves, and what a resumed one makes of them."""

from __future__ import annotations

import re

import pytest

from base.checkpoint import file as checkpoint_file
from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import load, make_trainer, small_config
from utils.errors import UserError

VALUES = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0]  # of epochs 1 to 6
BEST = {"max": [5, 3, 1], "min": [2, 4, 6]}  # epochs


def make_scripted(config, run_id="run", resume=None, values=VALUES):
    """A trainer whose epochs give ``values`` as val_loss, and train nothing."""
    trainer = make_trainer(config, run_id, resume=resume)
    trainer._train_epoch = lambda epoch: {"val_loss": values[epoch - 1]}
    return trainer


def names(trainer, pattern="*.pt"):
    return sorted(path.name for path in trainer.checkpoint_dir.glob(pattern))


def steps(trainer):
    return [int(re.search(r"step(\d+)", name)[1]) for name in names(trainer, "*-step*.pt")]


def three_steps_an_epoch(tmp_path, **trainer):
    config = small_config(tmp_path, **trainer)
    config["data_loader"]["args"]["batch_size"] = 480
    return config


# -- inside an epoch -----------------------------------------------------------------------------


def test_save_steps_counts_from_the_last_checkpoint_of_any_kind(tmp_path):
    trainer = make_trainer(three_steps_an_epoch(tmp_path, epochs=3, save_steps=2))
    trainer.train()
    assert steps(trainer) == [2, 5, 8]
    paths = sorted(trainer.checkpoint_dir.glob("*-step*.pt"))
    assert [load(path)["step"] for path in paths] == [2, 5, 8]


def test_save_steps_continues_over_epochs_that_are_not_saved_and_after_a_resume(tmp_path):
    config = three_steps_an_epoch(tmp_path, epochs=4, save_steps=4, save_period=9)
    trainer = make_trainer(config)
    trainer.train()
    found = [
        "checkpoint-epoch2-step4.pt",
        "checkpoint-epoch3-step8.pt",
        "checkpoint-epoch4-step12.pt",
    ]
    assert names(trainer) == [*found, "checkpoint-epoch4.pt"]
    path = trainer.checkpoint_dir / "checkpoint-epoch2-step4.pt"
    for later in set(trainer.checkpoint_dir.glob("*.pt")) - {path}:
        later.unlink()
    resumed = make_trainer(config, resume=path)
    resumed.train()
    assert steps(resumed) == [4, 8, 12]


def test_checkpoints_are_written_between_optimizer_steps(tmp_path):
    config = small_config(tmp_path, epochs=1, save_steps=1, accumulation_steps=4)
    trainer = make_trainer(config)
    trainer.train()
    found = [load(path) for path in sorted(trainer.checkpoint_dir.glob("*-step*.pt"))]
    assert [state["within"]["place"] for state in found] == [4, 8, 9]


def test_without_options_nothing_is_saved_inside_an_epoch(tmp_path):
    trainer = make_trainer(three_steps_an_epoch(tmp_path, epochs=2))
    trainer.train()
    assert names(trainer) == ["checkpoint-epoch1.pt", "checkpoint-epoch2.pt"]


def test_keep_last_counts_checkpoints_inside_epochs_too(tmp_path):
    trainer = make_trainer(three_steps_an_epoch(tmp_path, epochs=3, save_steps=1, keep_last=3))
    trainer.train()
    assert names(trainer) == [
        "checkpoint-epoch3-step8.pt",
        "checkpoint-epoch3-step9.pt",
        "checkpoint-epoch3.pt",
    ]


# -- after epochs --------------------------------------------------------------------------------


def test_the_best_epoch_is_saved_whatever_the_period(tmp_path):
    trainer = make_scripted(
        small_config(tmp_path, epochs=5, save_period=3, monitor="max val_loss"),
        values=[1.0, 5.0, 2.0, 3.0, 4.0],
    )
    trainer.train()
    assert names(trainer) == ["checkpoint-epoch3.pt", "checkpoint-epoch5.pt", "model_best.pt"]
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 2


def test_nan_is_never_the_best(tmp_path):
    trainer = make_scripted(
        small_config(tmp_path, epochs=3, monitor="min val_loss"),
        values=[float("nan"), 2.0, float("nan")],
    )
    trainer.train()
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 2


def test_an_equal_value_is_no_better(tmp_path):
    config = small_config(tmp_path, epochs=3, keep_best=2, monitor="max val_loss")
    trainer = make_scripted(config, values=[1.0, 1.0, 1.0])
    trainer.train()
    best = ["model_best-epoch1.pt", "model_best-epoch2.pt", "model_best.pt"]
    assert names(trainer, "model*") == best
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 1


def test_keep_last_keeps_the_newest_by_number(tmp_path):
    trainer = make_scripted(small_config(tmp_path, epochs=11, keep_last=2), values=[0.0] * 11)
    trainer.train()
    assert names(trainer) == ["checkpoint-epoch10.pt", "checkpoint-epoch11.pt"]


@pytest.mark.parametrize("mode", BEST)
@pytest.mark.parametrize("save_period", [1, 4])
def test_the_three_best_are_kept(tmp_path, mode, save_period):
    config = small_config(
        tmp_path,
        epochs=6,
        keep_best=3,
        keep_last=1,
        monitor=f"{mode} val_loss",
        save_period=save_period,
    )
    trainer = make_scripted(config)
    trainer.train()
    check_three_best(trainer, BEST[mode])
    assert names(trainer, "check*") == ["checkpoint-epoch6.pt"]


def check_three_best(trainer, epochs):
    best = [f"model_best-epoch{epoch}.pt" for epoch in epochs]
    assert names(trainer, "model*") == sorted([*best, "model_best.pt"])
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == epochs[0]
    assert [load(trainer.checkpoint_dir / name)["epoch"] for name in best] == epochs


@pytest.mark.parametrize("after", range(1, 6))
@pytest.mark.parametrize("mode", BEST)
def test_the_three_best_are_the_same_through_a_resume(tmp_path, mode, after):
    config = small_config(tmp_path, epochs=after, keep_best=3, monitor=f"{mode} val_loss")
    first = make_scripted(config)
    first.train()
    config["trainer"]["epochs"] = 6
    resumed = make_scripted(config, resume=first.checkpoint_dir / f"checkpoint-epoch{after}.pt")
    resumed.train()
    check_three_best(resumed, BEST[mode])
    assert [epoch for _, epoch in resumed.monitoring.best_epochs] == BEST[mode]


def test_patience_and_the_best_value_continue_after_a_resume(tmp_path):
    config = small_config(tmp_path, epochs=2, monitor="min val_loss", early_stop=1)
    values = [1.0, 2.0, 3.0, 4.0]
    trainer = make_scripted(config, values=values)
    trainer.train()
    config["trainer"]["epochs"] = 9
    path = trainer.checkpoint_dir / "checkpoint-epoch2.pt"
    resumed = make_scripted(config, resume=path, values=values)
    assert (resumed.mnt_best, resumed.not_improved_count, resumed.start_epoch) == (1.0, 1, 3)
    resumed.train()
    assert resumed.monitoring.is_exhausted
    assert names(resumed, "check*")[-1] == "checkpoint-epoch3.pt"


# -- going back ----------------------------------------------------------------------------------


def test_a_run_that_goes_back_drops_what_came_later_at_its_first_save(tmp_path):
    config = three_steps_an_epoch(tmp_path, epochs=3, save_steps=1)
    trainer = make_trainer(config)
    trainer.train()
    config["trainer"] |= {"epochs": 2, "save_steps": None}
    resumed = make_trainer(config, resume=trainer.checkpoint_dir / "checkpoint-epoch2-step5.pt")
    assert "checkpoint-epoch3.pt" in names(resumed)
    resumed.train()
    assert names(resumed)[-1] == "checkpoint-epoch2.pt"
    assert steps(resumed) == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in read_lines(resumed.checkpoint_dir)] == [1, 2]


def test_keep_last_does_not_count_epochs_that_a_run_has_gone_back_from(tmp_path):
    config = small_config(tmp_path, epochs=4)
    trainer = make_scripted(config)
    trainer.train()
    config["trainer"] |= {"epochs": 3, "keep_last": 1}
    resumed = make_scripted(config, resume=trainer.checkpoint_dir / "checkpoint-epoch2.pt")
    resumed.train()
    assert names(resumed) == ["checkpoint-epoch3.pt"]


@pytest.mark.parametrize("keep_best", [1, 3])
def test_going_back_to_before_the_best_gives_the_best_of_then(tmp_path, keep_best):
    config = small_config(tmp_path, epochs=5, keep_best=keep_best, monitor="max val_loss")
    trainer = make_scripted(config)
    trainer.train()  # the best is epoch 5
    config["trainer"]["epochs"] = 4
    resumed = make_scripted(config, resume=trainer.checkpoint_dir / "checkpoint-epoch3.pt")
    resumed.train()
    assert load(resumed.checkpoint_dir / "model_best.pt")["epoch"] == 3
    path = trainer.checkpoint_dir / "checkpoint-epoch2.pt"
    resumed = make_scripted(config, resume=path, values=[3.0, 1.0, 0.0, 0.0])
    resumed.train()
    assert load(resumed.checkpoint_dir / "model_best.pt")["monitor_best"] == 3.0


def test_a_checkpoint_without_a_list_of_best_epochs_can_be_resumed(tmp_path):
    """pytorch-template's, and our own older ones, know the best value only."""
    config = small_config(tmp_path, epochs=1, monitor="max val_loss", save_period=3)
    trainer = make_scripted(config)
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    state = load(path)
    del state["best"]
    checkpoint_file.save(state, path)
    config["trainer"]["epochs"] = 3
    resumed = make_scripted(config, resume=path)
    resumed.train()
    assert names(resumed, "check*")[-1] == "checkpoint-epoch3.pt"
    assert load(resumed.checkpoint_dir / "model_best.pt")["epoch"] == 3


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "go_on"])
def test_on_save_error(tmp_path, policy, caplog):
    """A folder has the name of the first checkpoint."""
    trainer = make_trainer(three_steps_an_epoch(tmp_path, epochs=2, on_save_error=policy))
    (trainer.checkpoint_dir / "checkpoint-epoch1.pt").mkdir(parents=True)
    if policy == "stop":
        with pytest.raises(UserError, match="could not be written: Is a directory"):
            trainer.train()
        return
    trainer.train()
    assert caplog.text.count("training continues, as trainer.on_save_error says") == 1
    assert load(trainer.checkpoint_dir / "checkpoint-epoch2.pt")["epoch"] == 2
