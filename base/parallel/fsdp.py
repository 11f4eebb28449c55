"""FSDP: a process for each device, with a shard of every parameter and its part of every batch.

Importing ``DTensor`` and distributed checkpoints takes 0.7 s, so they are imported only where they
are used.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from base.parallel.blocks import match_blocks
from base.parallel.ddp import SeveralProcesses
from base.parallel.strategy import refuse_spread
from config.read.section import list_components
from utils import distributed
from utils.dtensor import full_tensor, is_dtensor, local_shard
from utils.errors import UserError, one_line

DTYPES = {"fp32": None, "bf16": torch.bfloat16}
# Found by trial: these optimizers fail with shards. Elementwise optimizers work.
NEEDS_FULL_PARAMETERS = ("Adafactor", "LBFGS", "Muon", "Rprop", "SparseAdam")
FUSED_FOR_SHARDS = ("Adam", "AdamW")  # torch has fused kernels of these for sharded parameters


@dataclass(frozen=True)
class FSDP(SeveralProcesses):
    """A process for each device, each with a shard of all parameters, gradients, optimizer states.

    A block's full parameters are gathered while the block runs. For a validation, all parameters
    are gathered at once. The implementation is torch's FSDP2 (``fully_shard``).
    Source: Zhao et al. 2023, https://arxiv.org/abs/2304.11277.

    Attributes:
        blocks: names of modules, such as ``layers.*``; a ``*`` matches one component of a dotted
            name. Smaller blocks need less memory and more communication. By default the model is
            one block.
        num_processes, start_timeout_seconds, timeout_seconds: as for ``ddp``.
        param_dtype: the dtype of parameters while a block runs. The inputs of blocks are cast to
            it, and the output of the model is cast to fp32.
        reduce_dtype: the dtype in which gradients are averaged.
        cpu_offload: keep parameters, gradients and optimizer state in the CPU's memory; needs
            accelerators.
    """

    blocks: Sequence[str] = field(default=())
    param_dtype: Literal["fp32", "bf16"] = "fp32"
    reduce_dtype: Literal["fp32", "bf16"] = "fp32"
    cpu_offload: bool = False

    def check(self, config: Any) -> None:
        """Raises UserError for options that do not work with sharded parameters."""
        trainer = config["trainer"]
        for name in ("ema_decay", "swa", "compile", "channels_last", "histogram_period"):
            if trainer.get(name) not in (None, False):  # `swa: {}` has the defaults
                message = "does not work with fsdp; leave it out, or use ddp"
                raise UserError(message, key=f"trainer.{name}")
        if trainer.get("precision") == "fp16":
            raise UserError("fp16 does not work with fsdp; use bf16", key="trainer.precision")
        if (trainer.get("wandb") or {}).get("watch"):
            raise UserError("does not work with fsdp", key="trainer.wandb.watch")
        for key, optimizer in list_components(config, "optimizer"):
            kind = str(optimizer["type"]).rpartition(".")[2]
            is_fused = (optimizer.get("args") or {}).get("fused") and not self.allows_fused(kind)
            if kind in NEEDS_FULL_PARAMETERS or is_fused:
                name = f"{kind} with fused: true" if is_fused else kind
                message = f"{name} needs full parameters, but fsdp shards them; use AdamW"
                raise UserError(message, key=f"{key}.type")

    # -- the model ------------------------------------------------------------------------------

    def move_to_device(
        self, model: nn.Module, device: torch.device
    ) -> tuple[nn.Module, torch.device]:
        return (model, device) if is_sharded(model) else super().move_to_device(model, device)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if is_sharded(model):  # unlike DDP, FSDP2 needs no new wrapper for thawed parameters
            return model
        refuse_spread("fsdp", model)
        blocks = self.find_blocks(model)
        if self.cpu_offload and device.type == "cpu":
            raise UserError("the model is on the CPU already", key="parallel.args.cpu_offload")
        norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
        if norms and self.param_dtype != "fp32":
            message = f"batch norms ({norms[0]}, …) need fp32; use trainer.precision: bf16 instead"
            raise UserError(message, key="parallel.args.param_dtype")
        if torch.distributed.is_initialized():
            self._shard(model, blocks, device)
        elif self.cpu_offload or self.param_dtype != "fp32":
            logging.getLogger("train").warning(
                "parallel: fsdp shards nothing, because there is only one process. The model stays "
                "in fp32 and on its device."
            )
        return model

    def find_blocks(self, model: nn.Module) -> list[str]:
        """Lists the names of the modules that match ``blocks``, inner modules first.

        Raises:
            UserError: a pattern matches nothing, or two blocks share a parameter.
        """
        modules = dict(model.named_modules())
        names = [name for name, m in modules.items() if name and any(True for _ in m.parameters())]
        patterns = {f"parallel.args.blocks.{index}": x for index, x in enumerate(self.blocks)}
        found = match_blocks(patterns, names, "module with parameters")
        owners: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            around = [block for block in found if name.startswith(f"{block}.")]
            owner = max(around, key=len, default="")
            if owners.setdefault(id(parameter), owner) != owner:
                message = f"{name} is shared by two blocks: use a common parent, or neither"
                raise UserError(message, key="parallel.args.blocks")
        return sorted(found, key=lambda name: (-name.count("."), name))

    def _shard(self, model: nn.Module, blocks: list[str], device: torch.device) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import (
            CPUOffloadPolicy,
            MixedPrecisionPolicy,
            OffloadPolicy,
            fully_shard,
        )

        distributed.barrier()  # ranks may have built the model at different times
        group = distributed.process_group()
        for tensor in (*model.parameters(), *model.buffers()):
            value = tensor.detach().contiguous()
            torch.distributed.broadcast(value, src=0, group=group)
            tensor.detach().copy_(value)
        param, reduce = DTYPES[self.param_dtype], DTYPES[self.reduce_dtype] or torch.float32
        options: dict[str, Any] = {
            "mesh": DeviceMesh.from_group(group, device.type),
            "offload_policy": CPUOffloadPolicy() if self.cpu_offload else OffloadPolicy(),
        }
        root_policy = MixedPrecisionPolicy(param, reduce, torch.float32 if param else None)
        try:
            for name in blocks:
                policy = MixedPrecisionPolicy(param, reduce)
                fully_shard(model.get_submodule(name), mp_policy=policy, **options)
            fully_shard(model, mp_policy=root_policy, **options)
        except (ValueError, NotImplementedError) as error:
            message = f"{type(model).__name__} cannot be sharded: {one_line(error)}"
            raise UserError(message, key="parallel") from error

    def class_name(self, model: nn.Module) -> str:
        kind = type(model)  # fully_shard makes a subclass of (FSDPModule, the user's class)
        return kind.__mro__[2].__name__ if is_sharded(model) else kind.__name__

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[nn.Module]:
        """Gathers all parameters first, so that ranks may run different numbers of batches."""
        sharded: list[Any] = [module for module in model.modules() if is_sharded(module)]
        for module in sharded:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            with super().evaluating(model) as unwrapped:
                yield unwrapped
        finally:
            for module in sharded:
                module.reshard()
                module.set_reshard_after_forward(module is not model, recurse=False)

    def is_local(self, model: nn.Module) -> bool:
        return not is_sharded(model)

    # -- gradients ------------------------------------------------------------------------------

    def clip_grad_norm(
        self, model: nn.Module, max_norm: float, loose: Sequence[nn.Parameter] = ()
    ) -> torch.Tensor:
        norm: torch.Tensor
        if not loose:
            norm = full_tensor(super().clip_grad_norm(model, max_norm))
            return norm
        norm = self.grad_norm(model, loose)
        factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)  # as torch's clip_grad_norm_
        for parameter in (*model.parameters(), *loose):
            if parameter.grad is not None:
                local_shard(parameter.grad).mul_(factor)
        return norm

    def grad_norm(self, model: nn.Module, loose: Sequence[nn.Parameter] = ()) -> torch.Tensor:
        norm: torch.Tensor = full_tensor(super().grad_norm(model))
        grads = [parameter.grad for parameter in loose if parameter.grad is not None]
        return norm if not grads else torch.hypot(norm, nn.utils.get_total_norm(grads))

    def allows_fused(self, optimizer_type: str) -> bool:
        return optimizer_type.rpartition(".")[2] in FUSED_FOR_SHARDS

    # -- checkpoints ----------------------------------------------------------------------------

    def model_state(self, model: nn.Module, sharded: bool = False) -> dict[str, Any]:
        if sharded or not is_sharded(model):
            return super().model_state(model)
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        full = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(model, options=full)

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        if not is_sharded(model) or any(map(is_dtensor, state.values())):
            super().load_model_state(model, state)
            return
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        # Every rank has read the full tensors, and keeps its shards of them.
        set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True))

    def optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, sharded: bool = False
    ) -> dict[str, Any]:
        # torch's get_optimizer_state_dict is no option: it names parameters instead of numbering
        # them, as other runs do, and it makes a step if the optimizer has no state yet.
        state = optimizer.state_dict()
        return state if sharded else map_tensors(state, gather_on_main)

    def load_optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]
    ) -> None:
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
        shards = dict(zip(numbers, parameters, strict=False))  # torch reports a different count
        state = state | {
            "state": {
                number: {name: shard_like(v, shards.get(number)) for name, v in values.items()}
                for number, values in state["state"].items()
            }
        }
        super().load_optimizer_state(model, optimizer, state)


def is_sharded(module: nn.Module) -> bool:
    """Whether ``fully_shard`` was applied to a module."""
    return hasattr(module, "unshard")  # importing FSDPModule takes 0.7 s


def gather_on_main(value: Any) -> Any:
    """Gathers a DTensor into the main rank's CPU memory; other ranks get an empty tensor."""
    if not is_dtensor(value):
        return value
    full = value.detach().full_tensor()
    return full.cpu() if distributed.is_main() else full.new_empty(0, device="cpu")


def shard_like(value: Any, like: Any) -> Any:
    """Returns this rank's shard of a full tensor, sharded like the DTensor ``like``.

    Returns ``value`` itself if it is a shard already, or if ``like`` does not fit.
    """
    if not is_dtensor(like) or is_dtensor(value) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Without a copy, the shard would keep the memory of the full tensor.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None).clone()


def map_tensors(state: dict[str, Any], change: Any) -> dict[str, Any]:
    """Replaces each tensor of a nested state by ``change(tensor)``."""
    from torch.utils._pytree import tree_map_only

    mapped: dict[str, Any] = tree_map_only(torch.Tensor, change, state)
    return mapped
