"""How a model is spread over processes and devices: the interface, and one process on one device.

Whoever trains, evaluates or saves a model asks the strategy; nobody else knows which one it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from utils.distributed import world_size
from utils.errors import UserError


@dataclass(frozen=True)
class Parallel:
    """The parent of the strategies; its methods serve a model that is not wrapped at all.

    A strategy has options, and no state. All ranks call its methods alike.
    """

    def check(self, config: Any) -> None:
        """Refuses what the rest of the config asks for and this strategy cannot do.

        Raises:
            UserError: with the key of the setting that does not fit.
        """
        if config["trainer"].get("sharded_checkpoint"):
            raise UserError(
                "only a model that is sharded has a sharded checkpoint; set parallel.type: fsdp",
                key="trainer.sharded_checkpoint",
            )

    # -- the model ------------------------------------------------------------------------------

    def move_to_device(
        self, model: nn.Module, device: torch.device
    ) -> tuple[nn.Module, torch.device]:
        """Moves the model to ``device``; see the function of this name."""
        return move_to_device(model, device)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it is trained; freezing and placing on the device come before."""
        return model

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The user's model inside what ``wrap`` gave."""
        return model

    def class_name(self, model: nn.Module) -> str:
        """The name of the user's model class."""
        return type(self.unwrap(model)).__name__

    @contextlib.contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[nn.Module]:
        """Gives the model that each rank may run on as many batches as it has, the same on all."""
        yield self.unwrap(model)

    def is_local(self, model: nn.Module) -> bool:
        """Whether this rank always holds all of the model's parameters."""
        return True

    # -- gradients ------------------------------------------------------------------------------

    def sync_gradients(self, model: nn.Module, enabled: bool) -> None:
        """Whether the next backward pass averages the gradients over the ranks."""

    def reduce_gradients(self, model: nn.Module) -> None:
        """Averages over the ranks the gradients that the last backward pass left as they were."""

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> torch.Tensor:
        """Scales the gradients down to an L2 norm of ``max_norm``; returns the norm before."""
        return nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def grad_norm(self, model: nn.Module) -> torch.Tensor:
        """The L2 norm of all gradients, as a tensor of shape ``()``."""
        grads = (p.grad for p in model.parameters() if p.grad is not None)
        return nn.utils.get_total_norm(grads)

    def allows_fused(self, optimizer_type: str) -> bool:
        """Whether torch's fused kernel of this optimizer works on the wrapped parameters."""
        return True

    # -- checkpoints ----------------------------------------------------------------------------

    def model_state(self, model: nn.Module, sharded: bool = False) -> dict[str, Any]:
        """The state dict of the user's model.

        Args:
            sharded: leave each rank's shards as they are. Otherwise the tensors are full on the
                main rank, and may be empty on the others.
        """
        return self.unwrap(model).state_dict()

    def load_model_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Loads full tensors, or this rank's shards; the names and shapes have been compared."""
        self.unwrap(model).load_state_dict(state)

    def optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, sharded: bool = False
    ) -> dict[str, Any]:
        """The optimizer's state dict; ``sharded`` as in ``model_state``."""
        return optimizer.state_dict()

    def load_optimizer_state(
        self, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]
    ) -> None:
        """Loads full tensors, or this rank's shards."""
        optimizer.load_state_dict(state)


@dataclass(frozen=True)
class NoParallel(Parallel):
    """One process on one device; a model may place its own layers on several."""

    def __post_init__(self) -> None:
        refuse_several_processes("none")


def make_strategy(config: Any) -> Parallel:
    """The strategy that ``parallel`` names; by default DDP if several processes train."""
    from base.parallel.ddp import DDP

    if config.schema is not None and config.get("parallel"):
        strategy: Parallel = config.build("parallel")
        return strategy
    return DDP() if world_size() > 1 else NoParallel()


def move_to_device(model: nn.Module, device: torch.device) -> tuple[nn.Module, torch.device]:
    """Moves the model to ``device``, and tells on which device it takes its inputs.

    A model that has placed its layers on several devices itself stays as it is.
    """
    if is_spread(model):
        return model, next(model.parameters()).device
    return model.to(device), device


def is_spread(model: nn.Module) -> bool:
    """Whether the model has placed its parameters on several devices itself."""
    return len({parameter.device for parameter in model.parameters()}) > 1


def output_device(model: nn.Module, device: torch.device) -> torch.device:
    """The device of the outputs of a model that takes its inputs on ``device``."""
    return list(model.parameters())[-1].device if is_spread(model) else device


def refuse_several_processes(kind: str) -> None:
    """Raises UserError if several processes were started."""
    if world_size() > 1:
        message = f"is {kind}, but {world_size()} processes were started; they need ddp"
        raise UserError(message, key="parallel.type")


def refuse_spread(kind: str, model: nn.Module) -> None:
    """Raises UserError if the model has placed its layers on several devices itself."""
    if is_spread(model):
        name = type(model).__name__
        message = f"is {kind}, but {name} places its layers on several devices: use none or ddp"
        raise UserError(message, key="parallel.type")
