"""The scheduler that is made from a config, and its position after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.optim import lr_scheduler as schedulers

import trainer.trainer
from base.loop.schedule_plan import get_learning_rate, make_lr_scheduler
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.base.loop.schedules import COSINE, HALVED, LINEAR, hold, make_optimizer
from tests.helpers import make_trainer, small_config

# -- made from a config ---------------------------------------------------------------------------


def make_config(tmp_path: Path, **sections: Any) -> ConfigParser:
    config = ConfigParser(small_config(tmp_path) | sections)
    config.check(SCHEMA)
    return config


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"type": "Adam", "args": {"lr": 0.25}}, 0.25),
        ({"type": "Adam", "args": {"lr": 1}}, 1.0),
        ({"type": "Adam"}, 0.001),
        ({"type": "Adafactor"}, 0.01),
    ],
)
def test_the_learning_rate_is_the_configs_else_the_optimizers(
    tmp_path: Path, optimizer: dict[str, Any], expected: float
) -> None:
    assert get_learning_rate(make_config(tmp_path, optimizer=optimizer)) == expected


def test_without_a_section_there_is_no_scheduler(tmp_path: Path) -> None:
    assert make_lr_scheduler(make_config(tmp_path), make_optimizer(1.0)) is None


@pytest.mark.parametrize(
    ("rates", "max_lr", "expected"),
    [
        ((0.5, 0.5), 2.0, [2.0, 2.0]),
        ((0.5, 0.05), 2.0, [2.0, 0.2]),
        ((0.5, 0.05), [3.0, 4.0], [3.0, 4.0]),  # the config says it for each group
    ],
)
def test_the_peak_of_a_cycle_is_scaled_with_the_rate_of_each_group(
    tmp_path: Path, rates: tuple[float, ...], max_lr: Any, expected: list[float]
) -> None:
    section = {"type": "OneCycleLR", "args": {"max_lr": max_lr, "total_steps": 18}}
    config = make_config(tmp_path, lr_scheduler=section)
    optimizer = make_optimizer(*rates)
    make_lr_scheduler(config, optimizer)
    assert [group["max_lr"] for group in optimizer.param_groups] == pytest.approx(expected)
    assert config["lr_scheduler"] == section


# -- resuming ------------------------------------------------------------------------------------


class Holder(schedulers.LRScheduler):
    """Halves the rate of another scheduler, which its state does not have."""

    def __init__(self, optimizer: Any, after: schedulers.LRScheduler) -> None:
        self.after = after
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch > 0:
            self.after.step()
        return [rate / 2 for rate in self.after.get_last_lr()]

    def state_dict(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("base_lrs", "last_epoch", "_step_count")}


def test_schedulers_inside_of_others_resume_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.trainer, "Holder", Holder, raising=False)
    monkeypatch.setattr(Holder, "__module__", "trainer.trainer")
    holder = {"type": "trainer.Holder", "args": {"after": hold("ChainedScheduler", COSINE, HALVED)}}
    section = hold("SequentialLR", LINEAR, holder, milestones=[1])
    config = small_config(tmp_path, save_steps=1, lr_scheduler_interval="step")
    config |= {"lr_scheduler": section}
    config["data_loader"]["args"]["batch_size"] = 480
    full = check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", 5
    )
    assert full.optimizer.param_groups[0]["lr"] < 0.001


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_more_epochs_give_the_rates_of_a_run_of_that_length(
    tmp_path: Path, interval: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, epochs=2, lr_scheduler_interval=interval)
    config["lr_scheduler"] = hold("SequentialLR", LINEAR, COSINE, milestones=[1])
    make_trainer(config).train()
    config["trainer"]["epochs"] = 4
    longer = make_trainer(config, "longer")
    longer.train()
    path = tmp_path / "small/run/checkpoint-epoch2.pt"
    resumed = make_trainer(config, resume=path)
    resumed.train()
    assert resumed.last_log["epoch"] == 4
    rates = [
        [json.loads(line)["lr"] for line in (run.config.log_dir / "metrics.jsonl").open()][2:]
        for run in (longer, resumed)
    ]
    assert rates[0] == rates[1]
    assert "so the rate follows the curve of this length" in caplog.text
    assert "The resume is not exact, because of changes: length of lr_scheduler" in caplog.text
