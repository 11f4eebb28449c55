"""DataParallel: one process that copies the model to its devices at every step."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from base.parallel.strategy import Parallel, refuse_several_processes, refuse_spread


@dataclass(frozen=True)
class DataParallel(Parallel):
    """``torch.nn.DataParallel``: one process that copies the model to its devices at every step."""

    def __post_init__(self) -> None:
        refuse_several_processes("dp")

    def check(self, config: Any) -> None:
        super().check(config)
        logging.getLogger("train").warning(
            "DataParallel copies the model at every step, and uses one CPU core for all devices. "
            "parallel.type=ddp is faster."
        )

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        refuse_spread("dp", model)
        return model if device.type == "cpu" else nn.DataParallel(model)

    def unwrap(self, model: nn.Module) -> nn.Module:
        return model.module if isinstance(model, nn.DataParallel) else model
