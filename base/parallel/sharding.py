"""Models of which each process holds a part of every parameter (FSDP2): put together, and cut as others are.

What is cut is told by its methods: to import torch's DTensor takes 0.7 s, which only those pay who use it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from torch import nn
from torch.optim import Optimizer

from utils.distributed import is_main


def is_sharded(model: Any) -> bool:
    """Whether ``fully_shard`` was applied to a model."""
    return hasattr(model, "unshard")


def is_cut(value: Any) -> bool:
    """Whether it is a tensor of which this process has a part."""
    return hasattr(value, "full_tensor")


def class_of(model: nn.Module) -> type:
    """The model's class, as it was before it was sharded."""
    return type(model).__mro__[2] if is_sharded(model) else type(model)


def part_of(value: Any) -> Any:
    """This process's part of a tensor; all of one that is not cut."""
    return value.to_local() if is_cut(value) else value


def together(value: Any) -> Any:
    """A tensor that is cut, whole on every rank; another one as it is. All call alike."""
    return value.full_tensor() if is_cut(value) else value


def replaced(value: Any, change: Callable[[str, Any], Any], where: str = "") -> Any:
    """A state with ``change(where, tensor)`` for its tensors that are cut, or have no data; ``where`` as ``a.b.c``."""
    if is_cut(value) or getattr(value, "is_meta", False):
        return change(where, value)
    if isinstance(value, dict):
        filled = copy.copy(value)  # of a state_dict with its versions
        filled.update(
            {
                key: replaced(item, change, f"{where}.{key}".lstrip("."))
                for key, item in value.items()
            }
        )
        return filled
    return value


def whole(state: dict[str, Any]) -> Any:
    """A state with its tensors put together, in the CPU's memory; empty ones but on the main rank. All call alike."""

    def put_together(_: str, value: Any) -> Any:
        full = together(value.detach())
        return full.cpu() if is_main() else full.new_empty(0, device="cpu")

    return replaced(state, put_together)


def cut_like(value: Any, like: Any) -> Any:
    """A whole tensor, cut as ``like`` is; anything else as it is."""
    if not is_cut(like) or is_cut(value) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read all of it. A copy, as the part would keep the whole in memory.
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None).clone()


def cut_state(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's whole state, cut as its parameters are."""
    parameters = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    if not any(map(is_cut, parameters)):
        return state
    places = chain.from_iterable(group["params"] for group in state["param_groups"])
    like = dict(zip(places, parameters, strict=False))  # torch tells of another number of them
    return state | {
        "state": {
            place: {name: cut_like(value, like.get(place)) for name, value in values.items()}
            for place, values in state["state"].items()
        }
    }


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside, every rank holds all parameters of a sharded model, and may run it as often as it has batches."""
    parts: list[Any] = [module for module in model.modules() if is_sharded(module)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


def drop_pass(model: nn.Module) -> None:
    """After a forward pass without a backward one, which would have left each rank with its part."""
    for module in model.modules():
        if is_sharded(module):
            module.reshard()  # type: ignore[operator]
