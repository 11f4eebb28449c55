"""A run that is resumed after an epoch ends with the bits of one that never stopped."""

from __future__ import annotations

import pytest
import torch

from tests.base.checkpoint.resumed_runs import (
    check_resuming,
    full_and_resumed,
    load_last,
    read_lines,
)
from tests.helpers import differences, make_trainer, small_config

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


@pytest.mark.parametrize("variant", VARIANTS)
def test_resume_gives_the_same_bits(tmp_path, variant):
    config = small_config(tmp_path, epochs=4, **VARIANTS[variant])
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 2}}
    check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume),
        "checkpoint-epoch[13].pt",
        at_least=2,
    )


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
def test_every_kind_of_schedule_continues(tmp_path, scheduler):
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
        states.append(load_last(trainer.checkpoint_dir))
        del states[-1]["config"]
    assert differences(*states) == []


def test_the_lines_of_the_metrics_continue_without_repetition(tmp_path):
    _, _, full, resumed = full_and_resumed(tmp_path, small_config(tmp_path), 2)
    lines = read_lines(resumed.checkpoint_dir)
    assert lines == read_lines(full.checkpoint_dir)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]


def test_two_optimizers_are_both_saved_and_resumed(tmp_path):
    config = small_config(tmp_path, type="gan.GanTrainer", epochs=4)
    adam = {"type": "Adam", "args": {"lr": 0.001}}
    config |= {
        "arch": {"type": "gan.GAN"},
        "loss": "binary_cross_entropy_with_logits",
        "metrics": [],
        "optimizer": adam,
        "discriminator_optimizer": adam,
    }
    full, resumed, _, trainer = full_and_resumed(tmp_path, config, 2)
    assert differences(full, resumed) == []
    assert len(full["parts"]["optimizer_d"]["state"]) == 6
    assert len(full["optimizer"]["state"]) == 10
    assert isinstance(trainer.optimizer_d, torch.optim.Adam)
