"""How the processes of a run share its work: what ``parallel`` in a config may say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from base.options import TrainerOptions
from base.parallel.placement import is_spread
from base.parallel.sharding import is_sharded
from utils import distributed as parallel
from utils.errors import UserError, did_you_mean, one_line
from utils.launch import START_TIMEOUT_SECONDS, TIMEOUT_SECONDS, max_processes


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
        made.check(config)
        return made

    def check(self, config: Any) -> None:
        """Raises UserError for what the rest of the config asks for and this does not do."""
        if TrainerOptions.from_section(config["trainer"]).sharded_checkpoint:
            raise UserError(
                "trainer.sharded_checkpoint: only a model that is cut has shards; set parallel.type: fsdp"
            )

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
        _refuse_spread("dp", model)
        return model if device.type == "cpu" else nn.DataParallel(model)


@dataclass(frozen=True)
class _Several(Parallel):
    """What all have that train in several processes."""

    num_processes: int | None = None
    start_timeout_seconds: float = START_TIMEOUT_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if self.num_processes is not None and not 1 <= self.num_processes <= max_processes():
            raise UserError(
                f"num_processes={self.num_processes} must lie between 1 and {max_processes()}"
            )
        for name in ("start_timeout_seconds", "timeout_seconds", "bucket_cap_mb"):
            if not getattr(self, name, 1) > 0:
                raise UserError(f"{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True)
class ddp(_Several):  # noqa: N801
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

    bucket_cap_mb: int = 25
    find_unused_parameters: bool = False
    static_graph: bool = False
    sync_batch_norm: bool = False

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if self.sync_batch_norm and device.type == "cpu":
            raise UserError(
                "parallel.args.sync_batch_norm: torch has it for accelerators, not for the CPU"
            )
        if parallel.world_size() == 1 or not any(
            parameter.requires_grad for parameter in model.parameters()
        ):
            return model
        if self.sync_batch_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        parallel.barrier()  # the building may have taken them more or less time
        return DistributedDataParallel(
            model,
            device_ids=None if device.type == "cpu" or is_spread(model) else [device],
            process_group=parallel.process_group(),
            bucket_cap_mb=self.bucket_cap_mb,
            find_unused_parameters=self.find_unused_parameters,
            static_graph=self.static_graph,
            gradient_as_bucket_view=True,
        )


@dataclass(frozen=True)
class fsdp(_Several):  # noqa: N801
    """A process for each device, each with a part of every parameter, of its optimizer's state, and of every batch.

    A block's parameters are put together while it runs, the others' at its start and end; in validation all of them.
    torch's FSDP2 (``fully_shard``): Zhao et al. 2023, https://arxiv.org/abs/2304.11277.

    Attributes:
        blocks: names of modules, as ``layers.*``; a ``*`` stands for what is between two dots. The smaller the blocks,
            the less memory, and the more messages. None makes one of the whole model.
        num_processes, start_timeout_seconds, timeout_seconds: as of ``ddp``.
        param_dtype: of the parameters while a block runs; its inputs are cast to it, the model's output to fp32.
        reduce_dtype: in which gradients are added up.
        cpu_offload: keep parameters, gradients and the optimizer's state in the CPU's memory; needs accelerators.
    """

    blocks: Sequence[str] = field(default=())
    param_dtype: Literal["fp32", "bf16"] = "fp32"
    reduce_dtype: Literal["fp32", "bf16"] = "fp32"
    cpu_offload: bool = False

    def check(self, config: Any) -> None:
        """Raises UserError for what does not go with parameters that are cut."""
        options, section = TrainerOptions.from_section(config["trainer"]), config["optimizer"]
        for name in ("ema_decay", "compile", "channels_last", "histogram_period"):
            if getattr(options, name):
                raise UserError(f"trainer.{name}: does not go with fsdp; leave it out, or take ddp")
        if options.precision == "fp16":
            raise UserError("trainer.precision: fp16 does not go with fsdp; bf16 does")
        if options.wandb is not None and options.wandb.watch:
            raise UserError("trainer.wandb.watch: does not go with fsdp")
        kind = str(section["type"]).rpartition(".")[2]
        if kind in _WHOLE_ONLY or (
            kind not in FUSED_CUT and (section.get("args") or {}).get("fused")
        ):
            what = "" if kind in _WHOLE_ONLY else " with fused: true"
            raise UserError(
                f"optimizer.type: {kind}{what} needs whole parameters, which fsdp cuts; AdamW does not"
            )

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if is_sharded(model):  # freezing and thawing change nothing about it
            return model
        _refuse_spread("fsdp", model)
        blocks = self.chosen(model)
        if self.cpu_offload and device.type == "cpu":
            raise UserError("parallel.args.cpu_offload: the model is on the CPU already")
        norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
        if norms and self.param_dtype != "fp32":
            message = f"batch norms ({norms[0]}, …) need fp32; trainer.precision: {self.param_dtype} leaves it to them"
            raise UserError(f"parallel.args.param_dtype: {message}")
        if torch.distributed.is_initialized():
            self._shard(model, blocks, device)
        elif self.cpu_offload or self.param_dtype != "fp32":
            message = "one process that was not started by torchrun: the model stays whole, in fp32 and on its device"
            logging.getLogger("train").warning("parallel: %s", message)
        return model

    def chosen(self, model: nn.Module) -> list[str]:
        """The names of the blocks, the inner ones first. Raises UserError for a pattern that matches none."""
        names = [
            name
            for name, module in model.named_modules()
            if name and next(module.parameters(), None) is not None
        ]
        found: set[str] = set()
        for index, pattern in enumerate(self.blocks):
            words = pattern.split(".")
            matching = {name for name in names if _fits(name.split("."), words)}
            if not matching:
                message = (
                    f"'{pattern}' matches no module with parameters{did_you_mean(pattern, names)}"
                )
                raise UserError(f"parallel.args.blocks.{index}: {message}")
            found |= matching
        owners: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            owner = max(
                (block for block in found if name.startswith(f"{block}.")), key=len, default=""
            )
            if owners.setdefault(id(parameter), owner) != owner:
                message = f"{name} is shared by two blocks, which must be one, or part of none"
                raise UserError(f"parallel.args.blocks: {message}")
        return sorted(found, key=lambda name: (-name.count("."), name))

    def _shard(self, model: nn.Module, blocks: list[str], device: torch.device) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import (
            CPUOffloadPolicy,
            MixedPrecisionPolicy,
            OffloadPolicy,
            fully_shard,
        )

        parallel.barrier()  # the building may have taken them more or less time
        for tensor in (*model.parameters(), *model.buffers()):
            same = tensor.detach().contiguous()
            torch.distributed.broadcast(same, src=0, group=parallel.process_group())
            tensor.detach().copy_(same)
        dtypes = {"fp32": None, "bf16": torch.bfloat16}
        param, reduce = dtypes[self.param_dtype], dtypes[self.reduce_dtype] or torch.float32
        options: dict[str, Any] = {
            "mesh": DeviceMesh.from_group(parallel.process_group(), device.type),
            "offload_policy": CPUOffloadPolicy() if self.cpu_offload else OffloadPolicy(),
        }
        try:
            for name in blocks:
                fully_shard(
                    model.get_submodule(name),
                    mp_policy=MixedPrecisionPolicy(param, reduce),
                    **options,
                )
            fully_shard(
                model,
                mp_policy=MixedPrecisionPolicy(param, reduce, param and torch.float32),
                **options,
            )
        except (ValueError, NotImplementedError) as error:
            raise UserError(
                f"parallel: {type(model).__name__} cannot be cut: {one_line(error)}"
            ) from error


_WHOLE_ONLY = (
    "Adafactor",
    "LBFGS",
    "Muon",
    "Rprop",
    "SparseAdam",
)  # tried; what is computed number by number works
FUSED_CUT = ("Adam", "AdamW")  # optimizers whose fused kernels torch has for cut parameters


def _fits(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(map(fnmatchcase, name, pattern))


def _refuse_ranks(kind: str) -> None:
    if parallel.world_size() > 1:
        raise UserError(
            f"is {kind}, but {parallel.world_size()} processes were started; they need ddp"
        )


def _refuse_spread(kind: str, model: nn.Module) -> None:
    if is_spread(model):
        message = f"{type(model).__name__} places its own parts on several devices, which goes with none and ddp"
        raise UserError(f"parallel.type: is {kind}, but {message}")


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
        trainer.model = remade(
            trainer.model
        )  # the old one is gone before there is a new one: both would exchange
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
            torch.distributed.all_reduce(parameter.grad, group=parallel.process_group())
            parameter.grad.div_(parallel.world_size())


def sync_buffers(model: nn.Module) -> None:
    """Gives all ranks the main one's buffers (of batch norms), which a training step leaves different."""
    for buffer in model.buffers() if parallel.world_size() > 1 else ():
        torch.distributed.broadcast(buffer, src=0, group=parallel.process_group())


def divided(loader: Any, name: str, device: torch.device, evaluating: bool = False) -> Any:
    """``loader``, which is divided among the ranks; when evaluating so that each sample comes once.

    From here on it works for ``device``: what it does to whole batches it does there.

    Raises:
        UserError: it cannot be divided.
    """
    if parallel.world_size() > 1 and loader is not None and not hasattr(loader, "share"):
        message = "cannot be divided among processes; use base.DatasetLoader, or a class made from BaseDataLoader"
        raise UserError(f"{name}: a {type(loader).__name__} {message}")
    if hasattr(loader, "transformed"):
        loader.device = device
        if evaluating:
            loader.evaluating()
    return loader
