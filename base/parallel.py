"""How the processes of a run share its work: what ``parallel`` in a config may say."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils import parallel
from utils.errors import UserError
from utils.launch import most_processes


@dataclass(frozen=True)
class Parallel:
    """The parent of what ``parallel.type`` may name."""

    @classmethod
    def of(cls, config: Any) -> Parallel:
        """What the config says; without a word, ``ddp`` where there is more than one process."""
        made: Parallel = config.build("parallel") if config.get("parallel") else ddp()
        if isinstance(made, dp):
            message = "DataParallel copies the model at every step, and one core works for all devices: ddp is faster."
            logging.getLogger("train").warning(message)
        return made

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it is trained; ``model`` is on the device, with what is frozen frozen."""
        return model


@dataclass(frozen=True)
class none(Parallel):  # noqa: N801  (the name in a config; so are those below)
    """One process on one device."""

    def __post_init__(self) -> None:
        _refuse_ranks("none")


@dataclass(frozen=True)
class dp(Parallel):  # noqa: N801
    """One process that copies the model to its devices at every step (``torch.nn.DataParallel``)."""

    def __post_init__(self) -> None:
        _refuse_ranks("dp")

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        return model if device.type == "cpu" else nn.DataParallel(model)


@dataclass(frozen=True)
class ddp(Parallel):  # noqa: N801
    """A process for each device, each with the whole model and a part of every batch.

    Attributes:
        num_processes: on this machine; null for one on each accelerator that ``n_gpu`` allows. torchrun has its own.
        start_timeout_seconds: for all processes to come, read their data, and wait for a checkpoint.
        timeout_seconds: after which a process that does not answer in training ends the run.
        bucket_cap_mb: gradients that are sent at once, in MiB.
        find_unused_parameters: allow parameters that have no part in a loss.
        static_graph: every step uses the same parameters in the same order.
        sync_batch_norm: batch norms over the whole batch; needs accelerators.
    """

    num_processes: int | None = None
    start_timeout_seconds: float = parallel.START_SECONDS
    timeout_seconds: float = parallel.TRAINING_SECONDS
    bucket_cap_mb: int = 25
    find_unused_parameters: bool = False
    static_graph: bool = False
    sync_batch_norm: bool = False

    def __post_init__(self) -> None:
        if self.num_processes is not None and not 1 <= self.num_processes <= most_processes():
            raise UserError(f"num_processes={self.num_processes} must lie between 1 and {most_processes()}")
        for name in ("start_timeout_seconds", "timeout_seconds", "bucket_cap_mb"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)} must be above 0")

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if self.sync_batch_norm and device.type == "cpu":
            raise UserError("parallel.args.sync_batch_norm: torch has it for accelerators, not for the CPU")
        if parallel.world_size() == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        if self.sync_batch_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        parallel.barrier()  # the building may have taken them more or less time
        return DistributedDataParallel(
            model,
            device_ids=None if device.type == "cpu" else [device],
            process_group=parallel.group(),
            bucket_cap_mb=self.bucket_cap_mb,
            find_unused_parameters=self.find_unused_parameters,
            static_graph=self.static_graph,
            gradient_as_bucket_view=True,
        )


def _refuse_ranks(kind: str) -> None:
    if parallel.world_size() > 1:
        raise UserError(f"is {kind}, but {parallel.world_size()} processes were started; they need ddp")


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DataParallel or DistributedDataParallel, or itself."""
    wrapped = (nn.DataParallel, DistributedDataParallel)
    return model.module if isinstance(model, wrapped) else model


def alone(model: nn.Module) -> nn.Module:
    """The model without what talks to other ranks, to run as often as this one needs."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def wrap_again(trainer: Any) -> None:
    """Once something else is trained than before: what exchanges the gradients is made for certain parameters."""
    for remade in (unwrap, lambda model: trainer.parallel.wrap(model, trainer.device)):
        trainer.model = remade(trainer.model)  # the old one is gone before there is a new one: both would exchange
        if hasattr(trainer, "update"):
            trainer.update.model = trainer.model


def sync_gradients(model: nn.Module, wanted: bool) -> None:
    """Whether the next backward pass adds up the gradients of the ranks; as of the forward pass before it."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = wanted


def add_up_gradients(model: nn.Module) -> None:
    """Does what the backward pass before did not."""
    for parameter in model.parameters() if isinstance(model, DistributedDataParallel) else ():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad, group=parallel.group())
            parameter.grad.div_(parallel.world_size())


def sync_buffers(model: nn.Module) -> None:
    """Gives all ranks the main one's buffers (of batch norms), which a training step leaves different."""
    for buffer in model.buffers() if parallel.world_size() > 1 else ():
        torch.distributed.broadcast(buffer, src=0, group=parallel.group())


def divided(loader: Any, name: str, evaluating: bool = False) -> Any:
    """``loader``, which is divided among the ranks; when evaluating so that each sample comes once.

    Raises:
        UserError: it cannot be divided.
    """
    if parallel.world_size() > 1 and loader is not None and not hasattr(loader, "share"):
        message = "cannot be divided among processes; use base.DatasetLoader, or a class made from BaseDataLoader"
        raise UserError(f"{name}: a {type(loader).__name__} {message}")
    if evaluating and hasattr(loader, "evaluating"):
        loader.evaluating()
    return loader
