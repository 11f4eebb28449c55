"""``train.py --lr-find``: a curve, a suggestion, and nothing else is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base.tools.lr_find import record_losses
from tests.base.tools.programs import Ended
from tests.helpers import make_trainer, small_config

Tool = Callable[..., Ended]


def test_a_rate_that_trains_is_suggested_and_only_the_picture_stays(
    tmp_path: Path, tool: Tool
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(small_config(tmp_path / "saved")))
    ended = tool("-c", tmp_path / "c.json", "--lr-find")
    assert ended.status == 0, ended.err
    (rate,) = re.findall(r"^Learning rate: (\S+),", ended.out, re.MULTILINE)
    assert 1e-3 < float(rate) < 1e-1
    assert f"--lr {rate}" in ended.out
    files = [path.name for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert files == ["lr-find.svg"]
    assert f"suggested: {rate}" in (tmp_path / "saved" / "small" / "lr-find.svg").read_text()


def test_rates_rise_until_the_loss_diverges_and_groups_keep_their_ratio(tmp_path: Path) -> None:
    config = small_config(tmp_path, accumulation_steps=2, warmup_steps=5)
    trainer = make_trainer(config | {"optimizer": {"type": "SGD", "args": {"lr": 0.01}}})
    first, *others = trainer.model.parameters()
    trainer.optimizer = torch.optim.SGD(
        [{"params": [first], "lr": 0.1}, {"params": others, "lr": 0.02}], lr=0.1
    )
    train_step, ratios = trainer.train_step, []

    def train_step_and_note_ratio(batch: Any) -> Any:
        high, low = trainer.optimizer.param_groups
        ratios.append(low["lr"] / high["lr"])
        return train_step(batch)

    trainer.train_step = train_step_and_note_ratio
    rates = [lr for lr, _ in record_losses(trainer)]
    assert ratios == pytest.approx([0.2] * len(ratios))
    assert len(ratios) >= 2 * len(rates)
    assert rates[0] == pytest.approx(1e-7)
    assert rates == sorted(rates)
    assert trainer.progress.step == 0


def test_a_trainer_with_a_custom_loop_is_refused(tmp_path: Path, tool: Tool) -> None:
    ended = tool("-c", "digits_gan.yaml", "--lr-find", f"trainer.save_dir={tmp_path}")
    message = "--lr-find: GanTrainer has a training loop of its own\n"
    assert (ended.status, ended.err) == (2, message)


def test_a_loss_that_never_falls_is_an_error(tmp_path: Path, tool: Tool) -> None:
    optimizer = {"type": "SGD", "args": {"lr": 0.1, "maximize": True}}
    config = small_config(tmp_path / "saved") | {"optimizer": optimizer}
    (tmp_path / "c.json").write_text(json.dumps(config))
    ended = tool("-c", tmp_path / "c.json", "--lr-find")
    assert ended.status == 2
    assert ended.err.startswith("--lr-find: no learning rate lowers the loss")
