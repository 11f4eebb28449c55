"""Every shipped experiment trains an epoch on the device, on small files in its data's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.accelerator.device import DEVICE, N_GPU
from tests.helpers import load, make_trainer
from tests.test_shipped_configs import CONFIGS, data_dir, shrink

__all__ = ["data_dir"]  # a fixture


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_train_an_epoch(path: Path, data_dir: Any) -> None:
    config = shrink(path, data_dir)
    config["n_gpu"] = N_GPU
    del config["trainer"]["len_epoch"]
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.device.type == DEVICE.type
    assert {p.device.type for p in trainer.model.parameters()} == {DEVICE.type}
    assert load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["epoch"] == 1
    line = json.loads((trainer.checkpoint_dir / "log" / "metrics.jsonl").read_text())
    assert all(value is not None for value in line.values())
