"""Parallel: the interface of strategies that spread a model; NoParallel: one process and device.

Code that trains, evaluates or saves a model calls the strategy's methods. It never asks which
strategy is in use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from utils.distributed import world_size
from utils.errors import UserError
from utils.util import prepare_device

# Arguments of optimizers that select a kernel.
KERNEL_CHOICES = {"fused", "foreach", "capturable", "differentiable"}


class Wrapped(Protocol):
    """A trainer that holds a wrapped model, as its ``Update`` does if it has one."""

    model: Any
    device: torch.device

    def get_update(self) -> Any: ...


@dataclass(frozen=True)
class Parallel:
    """The parent of all strategies. Its methods are correct for a model without a wrapper.

    A strategy has options but no state. All ranks must call the same methods.
    """

    def check(self, config: Any) -> None:
        """Checks that the rest of the config works with this strategy.

        Raises:
            UserError: an option does not work; the error has its key.
        """
        if config["trainer"].get("sharded_checkpoint"):
            raise UserError(
                "only a sharded model can have a sharded checkpoint; set parallel.type: fsdp",
                key="trainer.sharded_checkpoint",
            )

    def on_devices(self, indices: list[int]) -> Parallel:
        """Returns the strategy for the accelerators that this process uses."""
        return self

    # -- the model ------------------------------------------------------------------------------

    def move_to_device(
        self, model: nn.Module, device: torch.device
    ) -> tuple[nn.Module, torch.device]:
        """Moves the model to ``device``; see the function ``move_to_device``."""
        return move_to_device(model, device)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wraps a model for training. It must be on its device, with its parameters frozen."""
        return model

    def wrap_again(self, trainer: Wrapped) -> None:
        """Wraps a trainer's model anew.

        DDP fixes its parameter list when it is constructed, so thawing needs a new wrapper. Two
        wrappers at once would both average the gradients.
        """
        update = trainer.get_update()
        trainer.model = self.unwrap(trainer.model)
        if update is not None:
            update.model = trainer.model
        trainer.model = self.wrap(trainer.model, trainer.device)
        if update is not None:
            update.model = trainer.model

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Returns the user's model inside the return value of ``wrap``."""
        return model

    def class_name(self, model: nn.Module) -> str:
        """The class name of the user's model."""
        return type(self.unwrap(model)).__name__

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yields an equal model on all ranks, which may run it on different numbers of batches."""
        yield self.unwrap(model)

    def is_local(self, model: nn.Module) -> bool:
        """Whether this rank always holds the full parameters of the model."""
        return True

    # -- gradients ------------------------------------------------------------------------------

    def sync_gradients(self, model: nn.Module, enabled: bool) -> None:
        """Sets whether the next backward pass averages the gradients over the ranks."""

    def reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Averages gradients over the ranks that the last backward pass has not averaged."""

    def clip_gradients(
        self,
        model: nn.Module,
        max_norm: float | None,
        max_value: float | None,
        loose: Sequence[nn.Parameter] = (),
        measures: bool = False,
    ) -> torch.Tensor | None:
        """Clips the gradients to an L2 norm, or each of their numbers to an absolute value.

        Args:
            model: the wrapped model.
            max_norm, max_value: the limits; None for none.
            loose: parameters outside of the model, such as those of a loss.
            measures: whether to measure the norm even if nothing clips it.

        Returns:
            The L2 norm before clipping, shape (); None if it was not measured.
        """
        if max_norm is not None:
            return self.clip_grad_norm(model, max_norm, loose)
        norm = self.grad_norm(model, loose) if measures else None
        if max_value is not None:
            from base.parallel.clipping import clip_grad_value

            clip_grad_value((*model.parameters(), *loose), max_value)
        return norm

    def clip_grad_norm(
        self, model: nn.Module, max_norm: float, loose: Sequence[nn.Parameter] = ()
    ) -> torch.Tensor:
        """Clips the gradients to an L2 norm of ``max_norm``; returns the norm before clipping.

        ``loose`` are parameters outside of the model, such as those of a loss.
        """
        return nn.utils.clip_grad_norm_([*model.parameters(), *loose], max_norm)

    def grad_norm(self, model: nn.Module, loose: Sequence[nn.Parameter] = ()) -> torch.Tensor:
        """Computes the L2 norm of all gradients, a tensor of shape ``()``."""
        grads = (p.grad for p in (*model.parameters(), *loose) if p.grad is not None)
        return nn.utils.get_total_norm(grads)

    def allows_fused(self, optimizer_type: str) -> bool:
        """Whether torch's fused kernel of this optimizer works on the wrapped parameters."""
        return True

    # -- checkpoints ----------------------------------------------------------------------------

    def model_state(self, model: nn.Module, sharded: bool = False) -> dict[str, Any]:
        """Returns the state dict of the user's model.

        Args:
            model: the wrapped model.
            sharded: whether to return each rank's shards. Otherwise the main rank gets full
                tensors, and the others may get empty ones.
        """
        return self.unwrap(model).state_dict()

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Loads full tensors or this rank's shards. The caller has checked names and shapes."""
        self.unwrap(model).load_state_dict(state)

    def optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, sharded: bool = False
    ) -> dict[str, Any]:
        """Returns the optimizer's state dict; ``sharded`` is as for ``model_state``."""
        return optimizer.state_dict()

    def load_optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]
    ) -> None:
        """Loads the optimizer's state, with full tensors or this rank's shards."""
        optimizer.load_state_dict(keep_kernels(optimizer, state))
        match_memory_formats(optimizer)


@dataclass(frozen=True)
class NoParallel(Parallel):
    """One process on one device, or a model that places its layers on several devices itself."""

    def __post_init__(self) -> None:
        refuse_several_processes("none")


def make_strategy(config: Any, check: bool = False) -> Parallel:
    """Makes the strategy of the section ``parallel``. The default for several processes is DDP.

    Args:
        config: of the run.
        check: also check that the rest of the config works with it.

    Raises:
        UserError: it does not.
    """
    from base.parallel.ddp import DDP

    strategy: Parallel = DDP() if world_size() > 1 else NoParallel()
    if config.schema is not None and config.get("parallel"):
        strategy = config.build("parallel")
        strategy = strategy.on_devices(prepare_device(config.get("n_gpu", 1))[1])
    if check:
        strategy.check(config)
    return strategy


def move_to_device(model: nn.Module, device: torch.device) -> tuple[nn.Module, torch.device]:
    """Moves the model to ``device``; returns the model and the device of its inputs.

    A model that has placed its layers on several devices itself is not moved.
    """
    separate_elements(model)
    if is_spread(model):
        return model, next(model.parameters()).device
    return model.to(device), device


def separate_elements(model: nn.Module) -> None:
    """Copies the tensors that ``expand`` has made. No checkpoint could be loaded into them."""
    for tensor in chain(model.parameters(), model.buffers()):
        if is_lazy(tensor) or tensor.layout is not torch.strided:
            continue
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        if any(size > 1 and step == 0 for size, step in sizes):
            tensor.data = tensor.data.contiguous()


def is_spread(model: nn.Module) -> bool:
    """Whether the model has placed its parameters on several devices itself."""
    return len({parameter.device for parameter in model.parameters()}) > 1


def keep_kernels(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns a saved state with this run's kernels, because those of another device may differ."""
    groups = optimizer.param_groups
    saved_groups = state["param_groups"]
    if len(saved_groups) != len(groups):
        return state  # torch reports it
    merged = [
        saved | {key: group[key] for key in KERNEL_CHOICES & group.keys()}
        for saved, group in zip(saved_groups, groups, strict=True)
    ]
    return state | {"param_groups": merged}


def match_memory_formats(optimizer: Optimizer) -> None:
    """Gives loaded state the memory format of its parameter, as ``trainer.channels_last`` sets it.

    torch's fused kernels read both in the order of their memory. With different orders, the CPU's
    kernel gives wrong numbers, and the one of CUDA fails.
    """
    for parameter in chain.from_iterable(group["params"] for group in optimizer.param_groups):
        values = optimizer.state.get(parameter, {})
        for name, value in values.items():
            if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
                continue
            if value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def find_loose_parameters(model: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    """Lists the optimizer's parameters outside of the model, such as those of a loss."""
    known = set(map(id, model.parameters()))
    groups = [] if optimizer is None else optimizer.param_groups
    return [p for group in groups for p in group["params"] if id(p) not in known]


def output_device(model: nn.Module, device: torch.device) -> torch.device:
    """The device of the model's outputs, if its inputs are on ``device``."""
    return list(model.parameters())[-1].device if is_spread(model) else device


def uses_accelerator(model: nn.Module, device: torch.device) -> bool:
    """Whether the inputs, which are on ``device``, or parameters of the model are not on a CPU."""
    devices = [device, *(parameter.device for parameter in model.parameters())]
    return any(device.type != "cpu" for device in devices)


def refuse_several_processes(kind: str) -> None:
    """Raises UserError if several processes were started."""
    if world_size() > 1:
        message = f"is {kind}, but {world_size()} processes were started; use ddp"
        raise UserError(message, key="parallel.type")


def refuse_spread(kind: str, model: nn.Module) -> None:
    """Raises UserError if the model has placed its layers on several devices itself."""
    if is_spread(model):
        name = type(model).__name__
        message = f"is {kind}, but {name} places its layers on several devices; use none or ddp"
        raise UserError(message, key="parallel.type")
