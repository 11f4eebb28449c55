"""Which device a model is on: one that has placed its own parts on several is left as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from base.parallel.sharding import is_sharded


def device_of(parameter: torch.Tensor) -> torch.device:
    return parameter.device


def is_spread(model: nn.Module) -> bool:
    """Whether its parameters lie on several devices."""
    return len(set(map(device_of, model.parameters()))) > 1


def placed(model: nn.Module, device: torch.device) -> tuple[Any, torch.device]:
    """The model on ``device``, and where its inputs are to be; a model that is spread takes them at its first part."""
    if is_spread(model):
        return model, device_of(next(model.parameters()))
    return model if is_sharded(model) else model.to(device), device


def output_device(model: nn.Module, device: torch.device) -> torch.device:
    """Where the outputs are of a model that takes its inputs on ``device``; of one that is spread, its last part's."""
    return device_of(list(model.parameters())[-1]) if is_spread(model) else device
