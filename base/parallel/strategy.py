"""Parallel: the interface of strategies that spread a model; NoParallel: one process and device.

Code that trains, evaluates or saves a model calls the strategy's methods. It never asks which
strategy is in use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from utils.distributed import world_size
from utils.errors import UserError

READ_AT_ONCE = ("cpu",)  # devices that nothing has to wait for


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

    # -- the model ------------------------------------------------------------------------------

    def move_to_device(
        self, model: nn.Module, device: torch.device
    ) -> tuple[nn.Module, torch.device]:
        """Moves the model to ``device``; see the function ``move_to_device``."""
        return move_to_device(model, device)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wraps a model for training. It must be on its device, with its parameters frozen."""
        return model

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

    def reduce_gradients(self, model: nn.Module) -> None:
        """Averages the gradients over the ranks if the last backward pass did not do so."""

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> torch.Tensor:
        """Clips the gradients to an L2 norm of ``max_norm``; returns the norm before clipping."""
        return nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def grad_norm(self, model: nn.Module) -> torch.Tensor:
        """Computes the L2 norm of all gradients, a tensor of shape ``()``."""
        grads = (p.grad for p in model.parameters() if p.grad is not None)
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
        optimizer.load_state_dict(state)


@dataclass(frozen=True)
class NoParallel(Parallel):
    """One process on one device, or a model that places its layers on several devices itself."""

    def __post_init__(self) -> None:
        refuse_several_processes("none")


class GradientCheck:
    """A hook before the steps of optimizers: finds gradients with NaN or infinity.

    Reading the result would wait for an accelerator, so there such steps are counted. A fused
    optimizer leaves them out on the device, as torch's GradScaler lets it, by ``found_inf``.

    Args:
        refuse: is called on a CPU, before the step of the optimizer.
    """

    def __init__(self, refuse: Callable[[Optimizer], None]) -> None:
        self.refuse = refuse
        self._count: torch.Tensor | None = None
        self._were_left_out = True
        self._ones: dict[torch.device, torch.Tensor] = {}

    def check(self, optimizer: Optimizer, *_: Any) -> None:
        """Looks at the gradient of the next step of ``optimizer``."""
        if getattr(optimizer, "found_inf", None) is not None:  # a GradScaler looks at the gradient
            return
        all_grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        grads = [grad for grad in all_grads if grad is not None]
        if not grads:
            return
        found = self._find(grads)
        if found.device.type in READ_AT_ONCE:
            if found.item():
                self.refuse(optimizer)
            return
        self._count = found.clone() if self._count is None else self._count.to(found.device) + found
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            self._leave_out(optimizer, found)
        else:
            self._were_left_out = False

    def _find(self, grads: list[torch.Tensor]) -> torch.Tensor:
        """Returns 1.0 if a value is not finite, otherwise 0.0, as a tensor of shape ()."""
        device = grads[0].device
        one = self._ones.get(device)
        if one is None:
            one = self._ones[device] = torch.ones((), device=device)
        found = torch.zeros((), device=device)
        try:  # one pass, which multiplies by 1 in place
            torch._amp_foreach_non_finite_check_and_unscale_(grads, found, one)
        except (RuntimeError, NotImplementedError):  # sparse, complex, or on several devices
            for grad in grads:
                values = grad._values() if grad.is_sparse else grad  # type: ignore[operator]
                found = torch.maximum(found, (~values.isfinite().all()).to(found))
        return found

    @staticmethod
    def _leave_out(optimizer: Any, found: torch.Tensor) -> None:
        """Lets the kernel of a fused optimizer change nothing in its next step if ``found``."""

        def forget(*_: Any) -> None:
            del optimizer.found_inf
            hook.remove()

        optimizer.found_inf = found
        hook = optimizer.register_step_post_hook(forget)

    def take_count(self) -> tuple[int, bool]:
        """Returns the number of counted steps since the last call, and whether all were left out.

        It waits for the accelerator.
        """
        if self._count is None:
            return 0, True
        taken = int(self._count.item()), self._were_left_out
        self._count, self._were_left_out = None, True
        return taken


def make_strategy(config: Any) -> Parallel:
    """Makes the strategy of the section ``parallel``. The default for several processes is DDP."""
    from base.parallel.ddp import DDP

    if config.schema is not None and config.get("parallel"):
        strategy: Parallel = config.build("parallel")
        return strategy
    return DDP() if world_size() > 1 else NoParallel()


def move_to_device(model: nn.Module, device: torch.device) -> tuple[nn.Module, torch.device]:
    """Moves the model to ``device``; returns the model and the device of its inputs.

    A model that has placed its layers on several devices itself is not moved.
    """
    if is_spread(model):
        return model, next(model.parameters()).device
    return model.to(device), device


def is_spread(model: nn.Module) -> bool:
    """Whether the model has placed its parameters on several devices itself."""
    return len({parameter.device for parameter in model.parameters()}) > 1


def output_device(model: nn.Module, device: torch.device) -> torch.device:
    """The device of the model's outputs, if its inputs are on ``device``."""
    return list(model.parameters())[-1].device if is_spread(model) else device


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
