"""Optimizers with ``train()`` and ``eval()``, such as schedule-free ones, and with a closure.

A schedule-free optimizer computes gradients at other weights than those to evaluate. Its methods
exchange the weights in the model. Source: Defazio et al. 2024, "The Road Less
Scheduled", https://arxiv.org/abs/2405.15682.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from base.loop.several_optimizers import list_optimizers
from utils.dtensor import local_shard
from utils.errors import UserError

if TYPE_CHECKING:
    from config import ConfigParser

TRAINING_VALUE = "training_value"  # of a parameter, in the state of its optimizer in a checkpoint


class OptimizerModes:
    """Switches optimizers to ``eval()`` for validations and checkpoints, and back.

    The weights in a checkpoint are those to evaluate. The weights to train are beside them, in the
    state of the optimizer. ``train()`` would compute them with rounding errors, so a validation or
    a checkpoint would change the training. Therefore they are copied before ``eval()``, and copied
    back after ``train()``.

    Attributes:
        optimizers: those with both methods. They are found when the training starts.
    """

    def __init__(self) -> None:
        self.optimizers: list[Any] = []
        self._addresses: set[int] = set()  # of their parameters, while they are in eval()

    def start(self, optimizers: Iterable[Any]) -> None:
        """Switches optimizers to ``train()``, with the weights of a checkpoint if one was loaded.

        Args:
            optimizers: of any kind. Those without the two methods are left out.
        """
        members = chain.from_iterable(map(list_optimizers, optimizers))
        self.optimizers = [optimizer for optimizer in members if has_modes(optimizer)]
        for optimizer in self.optimizers:
            optimizer.train()
            for parameter in list_parameters(optimizer):
                values = optimizer.state.get(parameter, {})
                if (value := values.pop(TRAINING_VALUE, None)) is not None:
                    parameter.detach().copy_(value)
                    if not values:  # the optimizer would take an empty state for its own
                        del optimizer.state[parameter]

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the model has the weights to evaluate. Contexts may be nested."""
        if not self.optimizers or self._addresses:
            yield
            return
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        hooks = []
        for optimizer in self.optimizers:
            optimizer.train()  # a loop of the project may have called eval()
            values = [(p.detach(), p.detach().clone()) for p in list_parameters(optimizer)]
            add_values = partial(_add_values, [value for _, value in values])
            hooks.append(optimizer.register_state_dict_post_hook(add_values))
            kept += values
            optimizer.eval()
        self._addresses = {get_address(parameter) for parameter, _ in kept}
        try:
            yield
        finally:
            for hook, optimizer in zip(hooks, self.optimizers, strict=True):
                hook.remove()
                optimizer.train()
            for parameter, value in kept:
                parameter.copy_(value)
            self._addresses = set()

    def copy_switched(self, _: str, value: torch.Tensor) -> torch.Tensor:
        """Copies a tensor if it shares its memory with a parameter that is switched back later."""
        is_shared = bool(self._addresses) and get_address(value) in self._addresses
        return value.detach().clone() if is_shared else value


def _add_values(values: list[torch.Tensor], _: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Adds the training values to the state dict of an optimizer."""
    numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
    added = {
        number: {**state["state"].get(number, {}), TRAINING_VALUE: value}
        for number, value in zip(numbers, values, strict=True)
    }
    return state | {"state": state["state"] | added}


def has_modes(optimizer: Any) -> bool:
    """Whether an optimizer has the methods ``train`` and ``eval``."""
    methods = (getattr(optimizer, name, None) for name in ("train", "eval"))
    return isinstance(optimizer, Optimizer) and all(map(callable, methods))


def list_parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    """Lists the parameters of all groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def get_address(value: Any) -> int:
    """Returns the address of a tensor's memory; of a sharded one, that of this rank's shard."""
    local = local_shard(value)
    is_plain = local.layout is torch.strided and not local.is_meta
    return local.untyped_storage().data_ptr() if is_plain else 0


def warn_of_modes(optimizer: Optimizer, model: nn.Module, config: ConfigParser) -> None:
    """Warns of options that do not suit a schedule-free optimizer.

    Source: https://github.com/facebookresearch/schedule_free, "How to Use" and "Caveats".
    """
    switched = [member for member in list_optimizers(optimizer) if has_modes(member)]
    if not switched:
        return
    name = type(switched[0]).__name__
    warn = logging.getLogger("train").warning
    if config.get("lr_scheduler"):
        warn("lr_scheduler: %s is made to train without a schedule, but works with one.", name)
    if config["trainer"].get("ema_decay"):
        warn("trainer.ema_decay: %s averages the weights itself; remove one of the two.", name)
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    if any(norm.track_running_stats for norm in norms):
        text = "%s is evaluated with other weights than those that the statistics of the model's"
        warn(
            f"{text} batch norms come from; its numbers may be too low, and a LayerNorm or "
            "GroupNorm does not have this problem.",
            name,
        )


def refuse_closures(optimizer: Any) -> None:
    """Raises UserError if an optimizer evaluates the loss several times in a step."""
    for index, member in enumerate(list_optimizers(optimizer)):
        closure = inspect.signature(member.step).parameters.get("closure")
        is_required = closure is not None and closure.default is closure.empty
        if isinstance(member, torch.optim.LBFGS) or is_required:
            name = type(member).__name__
            message = f"{name} evaluates the loss several times in a step; this loop does not"
            key = "optimizer.type" if member is optimizer else f"optimizer.{index}.type"
            raise UserError(message, key=key)
