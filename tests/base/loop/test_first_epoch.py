"""Faults that only the first epoch shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.base_trainer import BaseTrainer
from base.loop.first_epoch import check_first_epoch
from base.loop.progress import Monitor, Progress
from base.options import TrainerOptions
from config import ConfigParser
from tests.helpers import make_trainer, small_config
from utils.errors import UserError

LOG = {"epoch": 1, "loss": 0.5, "val_accuracy": 0.9}


def check(monitor: Monitor, steps: int = 9, **options: Any) -> None:
    check_first_epoch(LOG, monitor, TrainerOptions(epochs=2, **options), Progress(step=steps))


def test_the_monitored_number_must_be_there() -> None:
    check(Monitor("max", "val_accuracy"))
    check(Monitor("off", ""))
    with pytest.raises(UserError) as caught:
        check(Monitor("max", "val_acuracy"))
    text = str(caught.value)
    assert text.startswith("trainer.monitor: the epoch returned no 'val_acuracy' (did you mean 'va")
    assert text.endswith("; it returned loss, val_accuracy")


@pytest.mark.parametrize(
    ("steps", "options", "names"),
    [
        (0, {"precision": "bf16", "accumulation_steps": 2}, "precision, accumulation_steps"),
        (9, {"precision": "bf16"}, ""),  # this loop counts steps
        (0, {}, ""),
    ],
)
def test_options_without_effect_are_a_warning(
    caplog: pytest.LogCaptureFixture, steps: int, options: dict[str, Any], names: str
) -> None:
    check(Monitor("off", ""), steps, **options)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(" had no effect")[0] for message in messages] == (
        [f"trainer.{names}"] if names else []
    )


@pytest.mark.parametrize(("steps", "count"), [(9, 1), (1, 0)])
def test_a_loop_of_short_windows_needs_no_after_step(
    caplog: pytest.LogCaptureFixture, steps: int, count: int
) -> None:
    check(Monitor("off", ""), steps, validate_steps=2)
    assert caplog.text.count("does not call self.after_step()") == count


class PlainTrainer(BaseTrainer):
    """A loop of a project, without an Update."""

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {"loss": 1.0}


def test_a_run_checks_its_first_epoch_once_its_checkpoint_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"monitor": "min val_loss", "ema_decay": 0.9}
    config = ConfigParser(small_config(tmp_path, **options), run_id="run")
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = PlainTrainer(model, nn.MSELoss(), [], optimizer, config)
    with pytest.raises(UserError, match="the epoch returned no 'val_loss'"):
        trainer.train()
    assert (tmp_path / "small/run/checkpoint-epoch1.pt").is_file()
    trainer.monitor = "min loss"
    trainer.last_log = {}
    trainer.train()
    assert "trainer.ema_decay had no effect" in caplog.text


@pytest.mark.parametrize(("name", "count"), [("val_loss", 1), ("loss", 0)])
def test_a_training_in_which_nothing_counted_is_a_warning(
    caplog: pytest.LogCaptureFixture, name: str, count: int
) -> None:
    log, monitor = {"epoch": 1, name: 0.5}, Monitor("off", "")
    check_first_epoch(log, monitor, TrainerOptions(epochs=2), Progress(step=0))
    assert caplog.text.count("Nothing was trained") == count


@pytest.mark.parametrize("ends", [True, False])
def test_a_loop_that_ends_no_epoch_averages_nothing_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ends: bool
) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1, swa={}))
    if not ends:
        trainer.end_epoch = lambda _: {"loss": 1.0}
    trainer.train()
    assert ("trainer.swa had no effect" in caplog.text) is not ends


def test_a_model_without_a_loss_in_evaluation_cannot_be_monitored_by_it() -> None:
    with pytest.raises(UserError, match="the model gives no loss in evaluation; monitor a metric"):
        check(Monitor("min", "val_loss"))
