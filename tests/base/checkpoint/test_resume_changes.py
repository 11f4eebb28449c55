"""What a resumed run makes of a changed config, and how it reports that."""

from __future__ import annotations

import re

import pytest
import torch

from base.checkpoint import file as checkpoint_file
from base.checkpoint.restore import describe_order
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError


def train_first(tmp_path, epochs=2, **trainer):
    """A finished run.

    Returns:
        Its config, to change, and its newest checkpoint.
    """
    config = small_config(tmp_path, epochs=epochs, **trainer)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    trainer = make_trainer(config)
    trainer.train()
    return config, trainer.checkpoint_dir / f"checkpoint-epoch{epochs}.pt"


# -- what happens --------------------------------------------------------------------------------


def test_a_changed_learning_rate_is_in_force_after_resuming(tmp_path):
    config, path = train_first(tmp_path)
    config["optimizer"]["args"]["lr"] = 0.5
    config["trainer"]["epochs"] = 3
    resumed = make_trainer(config, resume=path)
    assert resumed.optimizer.param_groups[0]["lr"] == 0.5
    resumed.train()
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert resumed.lr_scheduler.last_epoch == 1


def test_another_optimizer_is_reset_and_another_architecture_is_refused(tmp_path, caplog):
    config, path = train_first(tmp_path, epochs=1)
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1}}
    resumed = make_trainer(config, resume=path)
    assert resumed.optimizer.state_dict()["state"] == {}
    assert "is reset." in caplog.text
    config["arch"] = {"type": "lenet.LeNet"}
    problem = r"holds another architecture than LeNet: lacks 10 .*has unknown"
    with pytest.raises(UserError, match=problem):
        make_trainer(config, resume=path)


def test_another_memory_format_changes_no_numbers(tmp_path):
    """torch's fused kernels read a parameter and its state in the order of their memory."""
    config = small_config(tmp_path, epochs=1)
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
    make_trainer(config).train()
    path = tmp_path / "small/run/checkpoint-epoch1.pt"
    config["trainer"]["epochs"] = 2
    weights = []
    for channels_last in (False, True):
        config["trainer"]["channels_last"] = channels_last
        resumed = make_trainer(config, resume=path)
        resumed.train()
        weights.append(resumed.model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=1e-4)


def test_the_optimizer_keeps_the_kernel_of_this_run(tmp_path):
    """The kernel in the checkpoint may not exist on another device."""
    config, path = train_first(tmp_path, epochs=1)
    state = load(path)
    assert state["optimizer"]["param_groups"][0]["fused"]
    state["optimizer"]["param_groups"][0] |= {"fused": False, "capturable": True}
    checkpoint_file.save(state, path)
    resumed = make_trainer(config, resume=path)
    assert resumed.optimizer.param_groups[0]["fused"]
    assert not resumed.optimizer.param_groups[0]["capturable"]


@pytest.mark.parametrize(
    ("scheduler", "rate"),
    [
        ({"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}, 0.005),
        ({"type": "CosineAnnealingLR", "args": {"T_max": 10}}, 0.00976),
        ({"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 50}}, None),
        (None, 0.01),
    ],
    ids=["other gamma", "other type", "one that prepares the groups", "none"],
)
def test_a_changed_schedule_starts_from_the_undecayed_rate(tmp_path, scheduler, rate):
    config, path = train_first(tmp_path)
    config["lr_scheduler"] = scheduler
    config["trainer"]["epochs"] = 3
    resumed = make_trainer(config, resume=path)
    resumed.train()
    if rate is not None:
        assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-3)


def test_a_changed_seed_gives_another_order_and_is_reported(tmp_path, caplog):
    config, path = train_first(tmp_path, epochs=1)
    config["trainer"]["epochs"] = 2
    same = make_trainer(config, resume=path)
    same.train()
    weights = {name: value.clone() for name, value in same.model.state_dict().items()}
    config["seed"] = 7
    other = make_trainer(config, resume=path)
    other.train()
    assert differences(weights, other.model.state_dict()) != []
    assert "seed changed" in caplog.text


def test_another_monitor_is_reset(tmp_path, caplog):
    config, path = train_first(tmp_path, monitor="min val_loss")
    config["trainer"] |= {"epochs": 3, "monitor": "max val_accuracy"}
    resumed = make_trainer(config, resume=path)
    assert (resumed.mnt_best, resumed.not_improved_count) == (float("-inf"), 0)
    resumed.train()
    assert "reset, because trainer.monitor changed" in caplog.text
    assert resumed.monitoring.best_epochs == [(resumed.last_log["val_accuracy"], 3)]


def test_a_schedule_past_its_end_is_one_line(tmp_path):
    config = small_config(tmp_path, epochs=3, monitor="min loss", early_stop=1)  # it may stop early
    config["lr_scheduler"] = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 19}}
    with pytest.raises(UserError, match=r"lr_scheduler: OneCycleLR: Tried to step"):
        make_trainer(config).train()


CHANGED_STATES = [
    {"random": {"odd": 1}},
    {"loader": {"odd": 1}},
    {"parts": {"update": {}}},
    {"parts": {"update": 5}},
]


@pytest.mark.parametrize("change", CHANGED_STATES, ids=str)
def test_a_state_that_was_tampered_with_is_one_line(tmp_path, change):
    config, path = train_first(tmp_path, epochs=1, ema_decay=0.9)
    torch.save(load(path) | change, path)
    config["trainer"]["epochs"] = 2
    with pytest.raises(UserError, match="its state does not fit this trainer") as caught:
        make_trainer(config, resume=path).train()
    assert "\n" not in str(caught.value)


# -- the report ----------------------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path):
    """The config, and a checkpoint inside the second epoch."""
    config = small_config(tmp_path, save_steps=5, monitor="min val_loss")
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    trainer = make_trainer(config)
    trainer.train()
    (path,) = trainer.checkpoint_dir.glob("checkpoint-epoch2-step*.pt")
    return config, path


CHANGES = {
    "lr": (
        {"optimizer": {"type": "Adam", "args": {"lr": 0.5}}},
        ["lr: 0.01 -> 0.5", "optimizer .*kept, with a new lr", "lr_s.*reset"],
    ),
    "optimizer": (
        {"optimizer": {"type": "SGD", "args": {"lr": 0.01}}},
        ["type: .*SGD", "optimizer .*reset"],
    ),
    "schedule": (
        {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 5}}},
        ["step_size: 1 -> 5", "lr_s.*reset"],
    ),
    "seed": ({"seed": 9}, ["seed: ", "order, random numbers .*reset"]),
    "epochs": (
        {},
        [
            "epochs: 2 -> 3",
            "weights .*kept",
            "optimizer .*kept",
            "lr_scheduler .*kept",
            "order, .*kept",
        ],
    ),
}


def warnings_of(caplog, text=""):
    found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [message for message in found if text in message]


@pytest.mark.parametrize("change", CHANGES)
def test_one_table_lists_the_outcome_of_each_part(stopped, caplog, change):
    config, path = stopped
    changed, expected = CHANGES[change]
    config["trainer"]["epochs"] = 3
    caplog.clear()
    make_trainer(config | changed, resume=path).train()
    (table,) = warnings_of(caplog, "Changed since the checkpoint:")
    expected = ["How the run was restored:", "best, patience", *expected]
    assert [text for text in expected if not re.search(text, table)] == []


def test_without_a_change_there_is_no_table(stopped, caplog):
    config, path = stopped
    caplog.clear()
    make_trainer(config, resume=path).train()
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("key", "value"), [("threads", 99), ("samples", 5), ("torch", "1.0"), ("device", "cuda")]
)
def test_a_resume_that_cannot_be_exact_is_reported_or_refused(stopped, caplog, key, value):
    config, path = stopped
    state = load(path)
    state["environment"][key] = value
    checkpoint_file.save(state, path)
    caplog.clear()
    make_trainer(config, resume=path).train()
    (line,) = warnings_of(caplog, "The resume is not exact")
    assert f"{key} {value} -> " in line
    assert "\n" not in line
    checkpoint_file.save(state, path)
    config["trainer"]["on_inexact_resume"] = "stop"
    with pytest.raises(UserError, match=f"the resume is not exact: {key} {value} -> "):
        make_trainer(config, resume=path).train()


def test_another_thread_count_is_reported(stopped, caplog):
    config, path = stopped
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        make_trainer(config, resume=path).train()
    finally:
        torch.set_num_threads(before)
    assert f"threads {before} -> {before + 1}" in caplog.text


def test_another_fold_is_told_because_the_model_may_know_its_samples() -> None:
    old, new = ({"data_loader": {"type": "X", "args": {"fold": fold}}} for fold in (1, 2))
    assert describe_order(old, old, {}, {}) == "kept"
    words = describe_order(old, new, {}, {})
    assert words.startswith("kept, but data_loader.args.fold changed: the model may know samples")
