"""What a trainer's checkpoint holds beside the weights, and how it comes back."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from utils.errors import UserError

from .update import Update

_KINDS = (Optimizer, LRScheduler, nn.Module, torch.amp.GradScaler, Update)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DataParallel or DistributedDataParallel, or itself."""
    wrapped = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return model.module if isinstance(model, wrapped) else model


def parts_of(trainer: Any) -> dict[str, Any]:
    """What else has a state: schedulers, further optimizers and modules, ``update``; by attribute name."""
    known = {id(module) for module in trainer.model.modules()} | {id(trainer.optimizer)}
    parts = {name: part for name, part in vars(trainer).items() if isinstance(part, _KINDS) and id(part) not in known}
    return {name: part for name, part in parts.items() if not isinstance(part, nn.Module) or part.state_dict()}


def loader_of(trainer: Any) -> Any:
    """The training loader if its position can be saved; behind ``inf_loop`` too."""
    loader = getattr(trainer, "data_loader", None)
    loader = getattr(loader, "loader", loader)
    return loader if hasattr(loader, "load_state_dict") else None


def restore_optimizer(
    optimizer: Optimizer, state: dict[str, Any], config: dict[str, Any], logger: logging.Logger, path: Path
) -> None:
    """Restores the optimizer if its type is the same; arguments that the config changed since then win.

    Args:
        state: the checkpoint's.
        config: the config now.
        path: of the checkpoint, for the error.
    """
    was, now = section_of(state["config"], "optimizer"), section_of(config, "optimizer")
    anew = _schedule(state["config"]) != _schedule(config)
    if was.get("type", now["type"]) != now["type"]:
        logger.warning("The optimizer was %s and is %s now: it starts anew.", was["type"], now["type"])
        return
    given = [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: the optimizer's state does not fit: {error}") from None
    old, new = section_of(was, "args"), section_of(now, "args")
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for group, values in zip(optimizer.param_groups, given, strict=True):
        # A schedule that starts anew does so from the rates that it prepared.
        keys = [key for key in values if key != "params"] if anew else changed
        group.update({key: values[key] for key in keys if key in values})
    if changed:
        logger.warning("Changed since the checkpoint, and in force now: optimizer %s.", ", ".join(changed))


def restore_parts(trainer: Any, state: dict[str, Any], logger: logging.Logger) -> None:
    """Restores the parts and the loader's position; a schedule whose section or learning rate changed starts anew."""
    parts, was, now = parts_of(trainer), state["config"], trainer.config.plain()
    if _schedule(was) != _schedule(now):
        parts.pop("lr_scheduler", None)
        logger.warning("lr_scheduler or its learning rate changed since the checkpoint: the schedule starts anew.")
    for name, part in parts.items():
        if name in state["parts"]:
            part.load_state_dict(state["parts"][name])
    loader = loader_of(trainer)
    if loader is not None and state["loader"] is not None:
        seed = {} if was.get("seed") == now.get("seed") else {"seed": loader.seed}
        if seed:
            logger.warning("seed changed since the checkpoint: the order of samples and random numbers are new.")
        loader.load_state_dict(state["loader"] | seed)
        if loader is trainer.data_loader:  # an epoch is a pass of its own, however the one before it ended
            loader.set_epoch(state["loader"]["passes"])


def section_of(config: Any, name: str) -> dict[str, Any]:
    """A section of a checkpoint's config, whoever wrote it; empty when it has none."""
    try:
        section = config[name]
    except (KeyError, TypeError):
        return {}
    return section if isinstance(section, dict) else {}


def _schedule(config: Any) -> tuple[Any, Any]:
    optimizer = section_of(config, "optimizer")
    return section_of(config, "lr_scheduler"), (optimizer.get("type"), section_of(optimizer, "args").get("lr"))
