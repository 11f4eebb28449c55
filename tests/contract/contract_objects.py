"""A small config, a model and a trainer, as a pytorch-template project has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from base import BaseModel, BaseTrainer
from config import ConfigParser

CPU = torch.device("cpu")


def make_config(tmp_path: Path, **trainer: Any) -> dict[str, Any]:
    """Returns a config for the classes of this file, with these options of ``trainer``."""
    return {
        "name": "hand",
        "n_gpu": 0,
        "arch": {"type": "Net", "args": {"size": 3}},
        "data_loader": {"type": "Loader", "args": {"batch_size": 4}},
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "loss": "mse",
        "metrics": [],
        "trainer": {
            "epochs": 2,
            "save_dir": str(tmp_path),
            "save_period": 1,
            "verbosity": 2,
            **trainer,
        },
    }


class Net(BaseModel):
    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(1, size)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


class HandTrainer(BaseTrainer):
    """Trains one step on five numbers in each epoch."""

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(torch.ones(5, 1)), torch.zeros(5, 3))
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item(), "epoch_seen": epoch}


def mse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean()


def make_trainer(
    tmp_path: Path,
    kind: type[BaseTrainer] = HandTrainer,
    resume: Path | None = None,
    **trainer: Any,
) -> Any:
    """Makes a trainer as projects do, with exactly five arguments.

    Args:
        tmp_path: the run's folder is ``hand/run`` in it.
        kind: the class.
        resume: a checkpoint.
        trainer: options of the config's ``trainer`` section.
    """
    values = make_config(tmp_path, **trainer)
    config = ConfigParser(values, resume=resume, run_id=None if resume else "run")
    torch.manual_seed(0)
    model = Net(3)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = config.init_obj("optimizer", torch.optim, trained)
    return kind(model, mse, [], optimizer, config)
