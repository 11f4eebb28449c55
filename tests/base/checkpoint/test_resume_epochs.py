"""A run that was stopped after an epoch and resumed ends with the bits of one that was not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

VARIANTS = {
    "plain": {},
    "ema, clipping, accumulation": {
        "ema_decay": 0.9,
        "grad_clip_norm": 1.0,
        "accumulation_steps": 2,
    },
    "fp16": {"precision": "fp16"},
    "iteration mode": {"len_epoch": 5},
    "early stop": {"monitor": "min val_loss", "early_stop": 1},
    "warm-up": {"warmup_steps": 25},
}


def full_and_resumed(tmp_path, config, after, epochs=4):
    """Final states of a run, and of one that only had its first ``after`` epochs' checkpoint."""
    config["trainer"] |= {"epochs": epochs}
    full = make_trainer(config, "full")
    full.train()
    folder = tmp_path / "small" / "resumed"
    folder.mkdir(parents=True)
    shutil.copy(full.checkpoint_dir / f"checkpoint-epoch{after}.pt", folder)
    shutil.copytree(full.checkpoint_dir / "log", folder / "log")
    resumed = make_trainer(config, resume=folder / f"checkpoint-epoch{after}.pt")
    resumed.train()
    last = sorted(full.checkpoint_dir.glob("checkpoint-*.pt"))[-1].name
    return load(full.checkpoint_dir / last), load(folder / last), full, resumed


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("after", [1, 3])
def test_resume_gives_the_same_bits(tmp_path, variant, after):
    config = small_config(tmp_path, **VARIANTS[variant])
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 2}}
    full, resumed, _, _ = full_and_resumed(tmp_path, config, after)
    assert differences(full, resumed) == []


@pytest.mark.parametrize(
    "scheduler",
    [
        {"type": "CosineAnnealingLR", "args": {"T_max": 4}},
        {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 36}},
        {"type": "ReduceLROnPlateau", "args": {"patience": 0}},
        {"type": "ExponentialLR", "args": {"gamma": 0.9}},
    ],
    ids=lambda scheduler: scheduler["type"],
)
def test_every_kind_of_schedule_goes_on(tmp_path, scheduler):
    config = small_config(tmp_path, monitor="min val_loss")
    config["lr_scheduler"] = scheduler
    full, resumed, _, _ = full_and_resumed(tmp_path, config, 2)
    assert differences(full, resumed) == []


def test_workers_do_not_change_the_result(tmp_path):
    config = small_config(tmp_path)
    states = []
    for workers in (0, 2):
        config["data_loader"]["args"]["num_workers"] = workers
        trainer = make_trainer(config, f"workers{workers}")
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
        del states[-1]["config"]
    assert differences(*states) == []


def test_metrics_lines_and_folder_go_on_without_repetition(tmp_path):
    _, _, full, resumed = full_and_resumed(tmp_path, small_config(tmp_path), 2)
    lines = [
        [
            json.loads(line)
            for line in (trainer.checkpoint_dir / "log" / "metrics.jsonl").read_text().splitlines()
        ]
        for trainer in (full, resumed)
    ]
    for line in lines[0] + lines[1]:
        del line["seconds"]
    assert lines[0] == lines[1]
    assert [line["epoch"] for line in lines[1]] == [1, 2, 3, 4]


def test_patience_and_best_value_go_on(tmp_path):
    config = small_config(tmp_path, monitor="min val_loss", early_stop=1)
    trainer = make_trainer(config)
    values = iter([1.0, 2.0, 3.0, 4.0])
    trainer._train_epoch = lambda epoch: {"val_loss": next(values)}
    trainer.epochs = 2
    trainer.train()
    config["trainer"]["epochs"] = 9
    resumed = make_trainer(config, resume=trainer.checkpoint_dir / "checkpoint-epoch2.pt")
    assert (resumed.mnt_best, resumed.not_improved_count, resumed.start_epoch) == (1.0, 1, 3)
    resumed._train_epoch = lambda epoch: {"val_loss": next(values)}
    resumed.train()
    assert resumed._stopping
    assert (resumed.checkpoint_dir / "checkpoint-epoch3.pt").exists()
    assert not (resumed.checkpoint_dir / "checkpoint-epoch4.pt").exists()


def test_the_best_is_saved_whatever_the_period(tmp_path):
    trainer = make_trainer(small_config(tmp_path, epochs=5, save_period=3, monitor="max val_loss"))
    values = iter([1.0, 5.0, 2.0, 3.0, 4.0])
    trainer._train_epoch = lambda epoch: {"val_loss": next(values)}
    trainer.train()
    names = sorted(path.name for path in trainer.checkpoint_dir.glob("*.pt"))
    assert names == ["checkpoint-epoch3.pt", "checkpoint-epoch5.pt", "model_best.pt"]
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 2


def test_nan_is_never_the_best(tmp_path):
    trainer = make_trainer(small_config(tmp_path, epochs=3, monitor="min val_loss"))
    values = iter([float("nan"), 2.0, float("nan")])
    trainer._train_epoch = lambda epoch: {"val_loss": next(values)}
    trainer.train()
    assert load(trainer.checkpoint_dir / "model_best.pt")["epoch"] == 2


def test_keep_last_keeps_the_newest_by_number(tmp_path):
    trainer = make_trainer(small_config(tmp_path, epochs=11, keep_last=2))
    trainer._train_epoch = lambda epoch: {"loss": 0.0}
    trainer.train()
    names = sorted(path.name for path in trainer.checkpoint_dir.glob("checkpoint-*.pt"))
    assert names == ["checkpoint-epoch10.pt", "checkpoint-epoch11.pt"]


def test_a_changed_learning_rate_is_in_force_after_resuming(tmp_path):
    config = small_config(tmp_path)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    trainer = make_trainer(config)
    trainer.train()
    config["optimizer"]["args"]["lr"] = 0.5
    config["trainer"]["epochs"] = 3
    resumed = make_trainer(config, resume=trainer.checkpoint_dir / "checkpoint-epoch2.pt")
    assert resumed.optimizer.param_groups[0]["lr"] == 0.5
    resumed.train()
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert resumed.lr_scheduler.last_epoch == 1


def test_another_optimizer_starts_anew_and_another_architecture_is_refused(tmp_path, caplog):
    config = small_config(tmp_path, epochs=1)
    trainer = make_trainer(config)
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.1}}
    resumed = make_trainer(config, resume=path)
    assert resumed.optimizer.state_dict()["state"] == {}
    assert "starts anew" in caplog.text
    config["arch"] = {"type": "lenet.LeNet"}
    with pytest.raises(
        UserError, match=r"holds another architecture than LeNet: lacks 10 .*has unknown"
    ):
        make_trainer(config, resume=path)


def test_two_optimizers_are_both_saved_and_resumed(tmp_path):
    config = small_config(tmp_path, type="gan.GanTrainer", epochs=4)
    adam = {"type": "Adam", "args": {"lr": 0.001}}
    config |= {
        "arch": {"type": "gan.GAN"},
        "loss": "binary_cross_entropy_with_logits",
        "metrics": [],
    }
    config |= {"optimizer": adam, "discriminator_optimizer": adam}
    full, resumed, _, trainer = full_and_resumed(tmp_path, config, 2)
    assert differences(full, resumed) == []
    assert len(full["parts"]["optimizer_d"]["state"]) == 6
    assert len(full["optimizer"]["state"]) == 10
    assert isinstance(trainer.optimizer_d, torch.optim.Adam)


def finished(tmp_path, epochs=4, **trainer):
    """A finished run, and its config to change."""
    config = small_config(tmp_path, epochs=epochs, **trainer)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    run = make_trainer(config)
    run.train()
    return config, run.checkpoint_dir


def test_going_back_drops_the_epochs_that_never_were(tmp_path):
    config, folder = finished(tmp_path)
    config["trainer"] |= {"epochs": 3, "keep_last": 1}
    make_trainer(config, resume=folder / "checkpoint-epoch2.pt").train()
    assert [path.name for path in folder.glob("checkpoint-*.pt")] == ["checkpoint-epoch3.pt"]


def test_a_best_model_that_a_kill_prevented_is_written_on_resuming(tmp_path):
    config, folder = finished(tmp_path, epochs=1, monitor="min val_loss")
    (folder / "model_best.pt").unlink()
    make_trainer(config, resume=folder / "checkpoint-epoch1.pt").train()
    assert load(folder / "model_best.pt")["epoch"] == 1


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
    config, folder = finished(tmp_path, epochs=2)
    config["lr_scheduler"] = scheduler
    config["trainer"]["epochs"] = 3
    resumed = make_trainer(config, resume=folder / "checkpoint-epoch2.pt")
    resumed.train()
    if rate is not None:
        assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-3)


def test_a_changed_seed_gives_another_order_and_is_said(tmp_path, caplog):
    config, folder = finished(tmp_path, epochs=1)
    config["trainer"]["epochs"] = 2
    same = make_trainer(config, resume=folder / "checkpoint-epoch1.pt")
    same.train()
    weights = {name: value.clone() for name, value in same.model.state_dict().items()}
    config["seed"] = 7
    other = make_trainer(config, resume=folder / "checkpoint-epoch1.pt")
    other.train()
    assert differences(weights, other.model.state_dict()) != []
    assert "seed changed" in caplog.text


def test_a_schedule_past_its_end_is_one_line(tmp_path):
    config = small_config(tmp_path)
    config["lr_scheduler"] = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 5}}
    with pytest.raises(UserError, match=r"lr_scheduler: OneCycleLR: Tried to step"):
        make_trainer(config).train()


@pytest.mark.parametrize("key", ["random", "loader", "parts"])
def test_a_checkpoint_that_was_tampered_with_is_one_line(tmp_path, key):
    config, folder = finished(tmp_path, epochs=1)
    path = folder / "checkpoint-epoch1.pt"
    state = load(path)
    state[key] = {"update": {}} if key == "parts" else {"odd": 1}
    torch.save(state, path)
    config["trainer"]["epochs"] = 2
    with pytest.raises(UserError, match="its state does not fit this trainer"):
        make_trainer(config, resume=path).train()
