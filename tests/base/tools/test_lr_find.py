"""``train.py --lr-find``: a curve, a suggestion, and nothing else left behind."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from base.tools.lr_find import search
from tests.helpers import make_trainer, run, small_config


def look(tmp_path: Path, config: dict[str, Any]) -> Any:
    (tmp_path / "c.json").write_text(json.dumps(config))
    before = set(Path(tempfile.gettempdir()).glob("trial-*"))
    done = run("train.py", "-c", tmp_path / "c.json", "--lr-find")
    assert set(Path(tempfile.gettempdir()).glob("trial-*")) <= before
    return done


def test_a_rate_that_trains_is_suggested_and_only_the_picture_stays(tmp_path: Path) -> None:
    done = look(tmp_path, small_config(tmp_path / "saved"))
    assert done.returncode == 0, done.stderr
    (rate,) = re.findall(r"^Learning rate: (\S+),", done.stdout, re.MULTILINE)
    assert 1e-3 < float(rate) < 1e-1
    assert f"--lr {rate}" in done.stdout
    assert [path.name for path in (tmp_path / "saved").rglob("*") if path.is_file()] == [
        "lr-find.svg"
    ]
    assert f"suggested: {rate}" in (tmp_path / "saved" / "small" / "lr-find.svg").read_text()


def test_groups_keep_their_ratio_and_the_rates_rise_to_where_the_loss_runs_away(
    tmp_path: Path,
) -> None:
    config = small_config(tmp_path, accumulation_steps=2, warmup_steps=5)
    trainer = make_trainer(config | {"optimizer": {"type": "SGD", "args": {"lr": 0.01}}})
    first, *others = trainer.model.parameters()
    trainer.optimizer = torch.optim.SGD(
        [{"params": [first], "lr": 0.1}, {"params": others, "lr": 0.02}], lr=0.1
    )
    ratios = []
    trainer.train_step = lambda batch, plain=trainer.train_step: (
        ratios.append(
            trainer.optimizer.param_groups[1]["lr"] / trainer.optimizer.param_groups[0]["lr"]
        ),
        plain(batch),
    )[1]
    rates = [lr for lr, _ in search(trainer)]
    assert ratios == pytest.approx([0.2] * len(ratios))
    assert len(ratios) >= 2 * len(rates)
    assert rates[0] == pytest.approx(1e-7)
    assert rates == sorted(rates)
    assert trainer.update.steps == 0  # of the run itself


def test_a_loop_of_its_own_is_a_line(tmp_path: Path) -> None:
    done = run("train.py", "-c", "digits_gan.yaml", "--lr-find", f"trainer.save_dir={tmp_path}")
    assert (done.returncode, done.stderr) == (
        2,
        "--lr-find: GanTrainer trains by a loop of its own\n",
    )


def test_a_loss_that_never_falls_is_a_line(tmp_path: Path) -> None:
    config = small_config(tmp_path) | {
        "optimizer": {"type": "SGD", "args": {"lr": 0.1, "maximize": True}}
    }
    done = look(tmp_path, config)
    assert done.returncode == 2
    assert done.stderr.startswith("--lr-find: the loss falls at no learning rate")
