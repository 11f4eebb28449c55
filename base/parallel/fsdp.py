"""A process for each device, each with a shard of every parameter and its part of every batch.

``DTensor`` and distributed checkpoints take 0.7 s to import, so they are imported where they are
used: only runs that shard a model pay for them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from base.parallel.ddp import SeveralProcesses
from base.parallel.strategy import refuse_spread
from utils import distributed
from utils.errors import UserError, did_you_mean, one_line

DTYPES = {"fp32": None, "bf16": torch.bfloat16}
# Tried: these optimizers compute with full matrices. Those that compute elementwise work.
NEEDS_FULL_PARAMETERS = ("Adafactor", "LBFGS", "Muon", "Rprop", "SparseAdam")
FUSED_FOR_SHARDS = ("Adam", "AdamW")  # whose fused kernels torch has for sharded parameters


@dataclass(frozen=True)
class FSDP(SeveralProcesses):
    """A process for each device, each with a shard of all parameters, gradients, optimizer states.

    A block's parameters are gathered while it runs, and those of the root module at its start and
    end; for validation all of them are gathered at once.
    torch's FSDP2 (``fully_shard``): Zhao et al. 2023, https://arxiv.org/abs/2304.11277.

    Attributes:
        blocks: names of modules, as ``layers.*``; a ``*`` stands for one part of a dotted name.
            Smaller blocks need less memory and more messages. By default the model is one block.
        num_processes, start_timeout_seconds, timeout_seconds: as for ``ddp``.
        param_dtype: of the parameters while a block runs. Its inputs are cast to it, and the
            model's output to fp32.
        reduce_dtype: in which gradients are averaged.
        cpu_offload: keep parameters, gradients and optimizer state in the CPU's memory; needs
            accelerators.
    """

    blocks: Sequence[str] = field(default=())
    param_dtype: Literal["fp32", "bf16"] = "fp32"
    reduce_dtype: Literal["fp32", "bf16"] = "fp32"
    cpu_offload: bool = False

    def check(self, config: Any) -> None:
        """Refuses what does not go with sharded parameters."""
        trainer, optimizer = config["trainer"], config["optimizer"]
        for name in ("ema_decay", "compile", "channels_last", "histogram_period"):
            if trainer.get(name):
                message = "does not go with fsdp; leave it out, or take ddp"
                raise UserError(message, key=f"trainer.{name}")
        if trainer.get("precision") == "fp16":
            raise UserError("fp16 does not go with fsdp; bf16 does", key="trainer.precision")
        if (trainer.get("wandb") or {}).get("watch"):
            raise UserError("does not go with fsdp", key="trainer.wandb.watch")
        kind = str(optimizer["type"]).rpartition(".")[2]
        if kind in NEEDS_FULL_PARAMETERS:
            message = f"{kind} needs full parameters, which fsdp shards; AdamW does not"
            raise UserError(message, key="optimizer.type")
        if (optimizer.get("args") or {}).get("fused") and not self.allows_fused(kind):
            message = f"{kind} with fused: true needs full parameters, which fsdp shards"
            raise UserError(message, key="optimizer.type")

    # -- the model ------------------------------------------------------------------------------

    def move_to_device(
        self, model: nn.Module, device: torch.device
    ) -> tuple[nn.Module, torch.device]:
        return (model, device) if is_sharded(model) else super().move_to_device(model, device)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        if is_sharded(model):  # FSDP2 does not mind that parameters are frozen or thawed later
            return model
        refuse_spread("fsdp", model)
        blocks = self.find_blocks(model)
        if self.cpu_offload and device.type == "cpu":
            raise UserError("the model is on the CPU already", key="parallel.args.cpu_offload")
        norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
        if norms and self.param_dtype != "fp32":
            message = f"batch norms ({norms[0]}, …) need fp32; trainer.precision: bf16 keeps theirs"
            raise UserError(message, key="parallel.args.param_dtype")
        if torch.distributed.is_initialized():
            self._shard(model, blocks, device)
        elif self.cpu_offload or self.param_dtype != "fp32":
            logging.getLogger("train").warning(
                "parallel: a single process that torchrun has not started does not shard the "
                "model: it stays in fp32 and on its device"
            )
        return model

    def find_blocks(self, model: nn.Module) -> list[str]:
        """The names of the modules that ``blocks`` means, inner ones first.

        Raises:
            UserError: a pattern matches nothing, or two blocks share a parameter.
        """
        modules = dict(model.named_modules())
        names = [name for name, m in modules.items() if name and any(True for _ in m.parameters())]
        found: set[str] = set()
        for index, pattern in enumerate(self.blocks):
            matching = {name for name in names if matches_part_by_part(name, pattern)}
            if not matching:
                message = f"'{pattern}' matches no module with parameters"
                key = f"parallel.args.blocks.{index}"
                raise UserError(message + did_you_mean(pattern, names), key=key)
            found |= matching
        owners: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            around = [block for block in found if name.startswith(f"{block}.")]
            owner = max(around, key=len, default="")
            if owners.setdefault(id(parameter), owner) != owner:
                message = f"{name} is shared by two blocks: make them one, or leave both out"
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

        distributed.barrier()  # the ranks may have needed different times to build the model
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
        """All parameters gathered, so that ranks with different numbers of batches do not wait."""
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

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> torch.Tensor:
        norm: torch.Tensor = full_tensor(super().clip_grad_norm(model, max_norm))
        return norm

    def grad_norm(self, model: nn.Module) -> torch.Tensor:
        norm: torch.Tensor = full_tensor(super().grad_norm(model))
        return norm

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

        # Every rank has read the full tensors, and takes its shards of them.
        set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True))

    def optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, sharded: bool = False
    ) -> dict[str, Any]:
        # get_optimizer_state_dict names parameters instead of numbering them, and steps an
        # optimizer that has no state yet; the files have torch's numbers, as those of any run.
        state = optimizer.state_dict()
        return state if sharded else map_tensors(state, gather_on_main)

    def load_optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]
    ) -> None:
        parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
        numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
        shards = dict(zip(numbers, parameters, strict=False))  # torch reports another count itself
        state = state | {
            "state": {
                number: {name: shard_like(v, shards.get(number)) for name, v in values.items()}
                for number, values in state["state"].items()
            }
        }
        super().load_optimizer_state(model, optimizer, state)


def matches_part_by_part(name: str, pattern: str) -> bool:
    """Whether a dotted name matches a dotted pattern, in which ``*`` does not reach over a dot."""
    words, globs = name.split("."), pattern.split(".")
    return len(words) == len(globs) and all(map(fnmatchcase, words, globs))


def is_sharded(module: nn.Module) -> bool:
    """Whether ``fully_shard`` was applied to a module."""
    return hasattr(module, "unshard")  # importing FSDPModule takes 0.7 s


def is_dtensor(value: Any) -> bool:
    return hasattr(value, "full_tensor")  # importing DTensor takes 0.7 s


def full_tensor(value: Any) -> Any:
    """A DTensor gathered on every rank; anything else as it is."""
    return value.full_tensor() if is_dtensor(value) else value


def gather_on_main(value: Any) -> Any:
    """A DTensor gathered in the main rank's CPU memory, and empty on the other ranks."""
    if not is_dtensor(value):
        return value
    full = value.detach().full_tensor()
    return full.cpu() if distributed.is_main() else full.new_empty(0, device="cpu")


def shard_like(value: Any, like: Any) -> Any:
    """This rank's shard of a full tensor, sharded as the DTensor ``like`` is."""
    if not is_dtensor(like) or is_dtensor(value) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # A copy, as the shard would keep the memory of the full tensor.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None).clone()


def map_tensors(state: dict[str, Any], change: Any) -> dict[str, Any]:
    """A nested state with ``change(tensor)`` in place of each tensor."""
    from torch.utils._pytree import tree_map_only

    mapped: dict[str, Any] = tree_map_only(torch.Tensor, change, state)
    return mapped
