"""The learning rate that is logged is the one that the step used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.step_rates import get_step_rates
from tests.helpers import make_trainer, small_config


@pytest.mark.parametrize(
    ("step_size", "options"),
    [
        (9, {"lr_scheduler_interval": "step"}),  # the last step of an epoch
        (5, {"lr_scheduler_interval": "step", "accumulation_steps": 2}),
        (1, {"warmup_steps": 18}),
        (1, {}),
    ],
)
def test_the_logged_rate_is_that_of_the_last_step(
    tmp_path: Path, step_size: int, options: dict[str, Any]
) -> None:
    config = small_config(tmp_path, epochs=2, **options)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": step_size, "gamma": 0.1}}
    trainer = make_trainer(config)
    used: list[float] = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    trainer.train()
    lines = (trainer.config.log_dir / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line)["lr"] for line in lines]
    assert logged == [used[len(used) // 2 - 1], used[-1]]


def test_the_rate_of_the_last_step_survives_a_resume(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.update.schedule.used_rates = [0.25]
    state = trainer.update.state_dict()
    other = make_trainer(small_config(tmp_path), "other")
    other.update.load_state_dict(state)
    assert other.update.schedule.first_rate == 0.25
    other.update.load_state_dict({key: state[key] for key in ("scaler", "ema")})  # an older one
    assert other.update.schedule.first_rate == 0.01


def test_a_loop_without_an_update_has_the_rate_of_its_last_step() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = get_step_rates(optimizer)
    assert (rates.first_rate, get_step_rates(None).first_rate) == (1.0, None)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert (rates.first_rate, optimizer.param_groups[0]["lr"]) == (0.25, 0.125)
    assert get_step_rates(optimizer) is rates
