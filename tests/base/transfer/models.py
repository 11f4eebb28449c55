"""A small model, a config, steps and a resumed run for the tests of this folder."""

from __future__ import annotations

import logging
import shutil
from typing import Any

import torch
from torch import nn

from base.transfer.freezing import freeze
from base.transfer.head import find_head
from base.transfer.options import TransferOptions
from base.transfer.transfer import Transfer
from tests.helpers import load, make_trainer, small_config

LOGGER = logging.getLogger("transfer")


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)),
    )


def prepare(model: nn.Module, **options: Any) -> Transfer:
    """Applies a ``transfer`` section to a model."""
    transfer = Transfer(TransferOptions(**options), LOGGER)
    transfer.prepare_model(model, None, resuming=False)
    return transfer


def freeze_all_but_head(model: nn.Module) -> nn.Module:
    """Freezes all parameters but those of the head; returns the model."""
    head = find_head(model)
    freeze(model, [name for name, _ in model.named_parameters() if not name.startswith(f"{head}.")])
    return model


def train_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, shape: tuple[int, ...], count: int = 2
) -> None:
    for _ in range(count):
        model.train()
        optimizer.zero_grad()
        output = model(torch.randn(shape))
        nn.functional.cross_entropy(output, torch.zeros(len(output), dtype=torch.int64)).backward()
        optimizer.step()


def thawing_config(tmp_path, **more: Any) -> dict[str, Any]:
    """A run of four epochs that trains the head, and from the third epoch on one layer more."""
    config = small_config(tmp_path, epochs=4, monitor="min val_loss", ema_decay=0.9)
    config["optimizer"] = {
        "type": "SGD",
        "args": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01},
    }
    config["transfer"] = {
        "head": {"num_classes": 10},
        "freeze": "all_but_head",
        "thaw": [{"epoch": 3, "params": ["features.3.*", "features.4.*"], "lr_scale": 0.1}],
    }
    return config | more


def resume_copy(trainer: Any, config: dict[str, Any], epoch: int) -> dict[str, Any]:
    """The last checkpoint of a run that resumes from a copy of another run's checkpoint.

    Args:
        trainer: of the other run, which is finished.
        config: of both runs.
        epoch: after which the checkpoint was written.
    """
    folder = trainer.checkpoint_dir.parent / f"resumed{epoch}"
    folder.mkdir()
    copy = folder / f"checkpoint-epoch{epoch}.pt"
    shutil.copy(trainer.checkpoint_dir / copy.name, copy)
    make_trainer(config, resume=copy).train()
    return load(folder / f"checkpoint-epoch{config['trainer']['epochs']}.pt")
