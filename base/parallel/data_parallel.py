"""DataParallel: one process that copies the model to its devices at every step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from base.parallel.strategy import Parallel, refuse_several_processes, refuse_spread
from utils.errors import UserError


@dataclass(frozen=True)
class DataParallel(Parallel):
    """``torch.nn.DataParallel``: one process that copies the model to its devices at every step.

    Attributes:
        device_ids: the indices of the accelerators; by default the first ``n_gpu``.
    """

    device_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        refuse_several_processes("dp")

    def check(self, config: Any) -> None:
        super().check(config)
        logging.getLogger("train").warning(
            "DataParallel copies the model at every step, and uses one CPU core for all devices. "
            "parallel.type=ddp is faster."
        )

    def on_devices(self, indices: list[int]) -> DataParallel:
        if unknown := set(self.device_ids) - set(indices):
            message = f"{min(unknown)} is not among the accelerators of this run, {indices}"
            raise UserError(message, key="parallel.args.device_ids")
        return replace(self, device_ids=self.device_ids or indices)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        refuse_spread("dp", model)
        return model if device.type == "cpu" else nn.DataParallel(model, list(self.device_ids))

    def unwrap(self, model: nn.Module) -> nn.Module:
        return model.module if isinstance(model, nn.DataParallel) else model
