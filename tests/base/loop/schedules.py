"""Optimizers and schedules for the tests of learning rates."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from base.loop.lr_schedule import LRSchedule

COSINE = {"type": "CosineAnnealingLR"}
LINEAR = {"type": "LinearLR"}
HALVED = {"type": "ConstantLR", "args": {"factor": 0.5, "total_iters": 4}}


def hold(kind: str, *held: dict[str, Any], **args: Any) -> dict[str, Any]:
    """The section of a scheduler that holds others."""
    return {"type": kind, "args": {"schedulers": list(held)} | args}


def make_optimizer(*rates: float) -> torch.optim.Optimizer:
    """An optimizer with one group for each learning rate; the first rate is the default."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=rates[0], momentum=0.9)


def make_schedule(name: str, interval: str | None = None, **args: Any) -> LRSchedule:
    optimizer = make_optimizer(1.0)
    scheduler = getattr(schedulers, name)(optimizer, **args)
    optimizer.step()  # else torch warns that the schedule moves before it
    return LRSchedule(scheduler, optimizer, interval=interval)
