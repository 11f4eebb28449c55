"""DDP: a process for each device, each with the full model and its part of every batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from base.parallel.strategy import Parallel, is_spread
from utils import distributed
from utils.errors import UserError
from utils.launch import max_processes
from utils.world import START_TIMEOUT_SECONDS, TIMEOUT_SECONDS


@dataclass(frozen=True)
class SeveralProcesses(Parallel):
    """The options and methods that all strategies with several processes have in common."""

    num_processes: int | None = None
    start_timeout_seconds: float = START_TIMEOUT_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if self.num_processes is not None and not 1 <= self.num_processes <= max_processes():
            limits = f"must lie between 1 and {max_processes()}"
            raise UserError(f"num_processes={self.num_processes} {limits}")
        refuse_not_positive(self, "start_timeout_seconds", "timeout_seconds")

    def reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if distributed.world_size() == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad, group=distributed.process_group())
                parameter.grad.div_(distributed.world_size())

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[nn.Module]:
        """Unwraps the model, and gives all ranks the batch-norm statistics of the main rank."""
        if distributed.world_size() > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0, group=distributed.process_group())
        with super().evaluating(model) as unwrapped:
            yield unwrapped


@dataclass(frozen=True)
class DDP(SeveralProcesses):
    """A process for each device, each with the full model and its part of every batch.

    Attributes:
        num_processes: the number of processes on this machine; null starts one for each accelerator
            that ``n_gpu`` allows. Under torchrun, torchrun decides.
        start_timeout_seconds: the time limit for all processes to start and to read their data, and
            for a checkpoint to be written.
        timeout_seconds: the run ends if a process does not answer for this time during training.
        bucket_cap_mb: the size of the buckets in which gradients are averaged, in MiB.
        find_unused_parameters: allow parameters that do not influence the loss.
        static_graph: promise that every step uses the same parameters in the same order.
        sync_batch_norm: compute batch norms over the full batch; needs accelerators.
    """

    bucket_cap_mb: int = 25
    find_unused_parameters: bool = False
    static_graph: bool = False
    sync_batch_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_not_positive(self, "bucket_cap_mb")

    def check(self, config: Any) -> None:
        super().check(config)
        if self.static_graph and config["trainer"].get("accumulation_steps", 1) > 1:
            message = (
                "does not work with trainer.accumulation_steps, whose steps differ; turn it off"
            )
            raise UserError(message, key="parallel.args.static_graph")
        if self.static_graph and self.find_unused_parameters:
            message = "has no effect with static_graph, which finds them itself; remove one"
            raise UserError(message, key="parallel.args.find_unused_parameters")

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if self.sync_batch_norm and device.type == "cpu":
            message = "torch supports it on accelerators, and not on the CPU"
            raise UserError(message, key="parallel.args.sync_batch_norm")
        if distributed.world_size() == 1 or not any(p.requires_grad for p in model.parameters()):
            return model
        if self.sync_batch_norm:
            if not any(isinstance(module, _BatchNorm) for module in model.modules()):
                message = f"has no effect: {type(model).__name__} has no batch norm; turn it off"
                raise UserError(message, key="parallel.args.sync_batch_norm")
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        distributed.barrier()  # ranks may have built the model at different times
        return DistributedDataParallel(
            model,
            device_ids=None if device.type == "cpu" or is_spread(model) else [device],
            process_group=distributed.process_group(),
            bucket_cap_mb=self.bucket_cap_mb,
            find_unused_parameters=self.find_unused_parameters,
            static_graph=self.static_graph,
            gradient_as_bucket_view=True,
        )

    def unwrap(self, model: nn.Module) -> nn.Module:
        return model.module if isinstance(model, DistributedDataParallel) else model

    def sync_gradients(self, model: nn.Module, enabled: bool) -> None:
        if isinstance(model, DistributedDataParallel):
            model.require_backward_grad_sync = enabled


def refuse_not_positive(options: object, *names: str) -> None:
    """Raises UserError if one of the named options is not above 0."""
    for name in names:
        if not getattr(options, name) > 0:
            raise UserError(f"{name}={getattr(options, name)} must be above 0")
