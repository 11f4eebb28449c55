"""Finds the weights in a checkpoint, and loads them into a model or a loss if they fit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from base.checkpoint.changes import is_same_loss
from base.checkpoint.plain import restore_objects
from base.loop.assembly import list_trained
from base.parallel.strategy import Parallel, separate_elements
from utils.errors import UserError, one_line

NAMES_SHOWN = 3
AVERAGES = ("ema", "swa")
TRAINED = "trained"


def load_weights(
    model: nn.Module, state_dict: dict[str, Any], source: object, parallel: Parallel | None = None
) -> None:
    """Loads ``state_dict`` strictly. Its names may have the prefix ``module.`` of DataParallel.

    Args:
        model: the model, wrapped or not.
        state_dict: full tensors, or this rank's shards.
        source: the source of the weights, for the error.
        parallel: the strategy that has wrapped the model; None for an unwrapped model.

    Raises:
        UserError: the weights belong to another architecture. The error lists missing, unknown and
            differently shaped weights.
    """
    parallel = Parallel() if parallel is None else parallel
    separate_elements(parallel.unwrap(model))
    expected = parallel.unwrap(model).state_dict()
    if not isinstance(state_dict, dict) or not all(isinstance(name, str) for name in state_dict):
        raise UserError(f"{source}: its state_dict is a {type(state_dict).__name__}")
    has_prefix = state_dict and all(name.startswith("module.") for name in state_dict)
    if has_prefix and not set(state_dict) & set(expected):
        state_dict = {name.removeprefix("module."): value for name, value in state_dict.items()}
    problems = [
        _count("lacks", sorted(set(expected) - set(state_dict))),
        _count("has unknown", sorted(set(state_dict) - set(expected))),
        _count("has other shapes in", _list_other_shapes(state_dict, expected)),
    ]
    if any(problems):
        message = f"{source}: holds another architecture than {parallel.class_name(model)}"
        raise UserError(f"{message}: {'; '.join(filter(None, problems))}")
    try:
        parallel.load_model_state(model, state_dict)
    except RuntimeError as error:  # a value is no tensor
        raise UserError(f"{source}: {one_line(error)}") from None


def load_loss(criterion: Any, state: dict[str, Any], config: Any, path: Path) -> None:
    """Loads the state of the loss in a checkpoint, if ``criterion`` is a module.

    Args:
        criterion: the loss of the config.
        state: the content of the checkpoint. An old one may have no state of the loss.
        config: of this test, which may name another loss.
        path: the file of the checkpoint, for the error.

    Raises:
        UserError: the state does not fit the loss.
    """
    objects = state.get("parts")
    saved = objects.get("criterion") if isinstance(objects, dict) else None
    if not isinstance(criterion, nn.Module) or not criterion.state_dict():
        return
    if saved is None or not is_same_loss(state.get("config"), config.plain()):
        if list_trained(criterion):
            message = "The parameters of the loss are not those of %s, which has no such state."
            logging.getLogger("test").warning(message, path)
        return
    try:
        criterion.load_state_dict(restore_objects(saved, criterion.state_dict()))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{path}: its loss does not fit: {one_line(error)}") from None


def _count(problem: str, names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    return f"{problem} {len(names)} ({shown})" if names else ""


def _list_other_shapes(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {tuple(found[name].shape)} there, {tuple(tensor.shape)} here"
        for name, tensor in expected.items()
        if isinstance(tensor, torch.Tensor)
        and not is_lazy(tensor)  # it takes the shape of what it loads
        and getattr(found.get(name), "shape", None) not in (None, tensor.shape)
    ]


def get_averaged(state: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The averaged weights in a checkpoint by name; None if it has none of this kind."""
    objects = state.get("parts")
    update = objects.get("update") if isinstance(objects, dict) else None
    saved = update.get(kind) if isinstance(update, dict) else None
    if not isinstance(saved, dict):
        return None
    prefix = "module."  # the other values are counters
    return {
        name.removeprefix(prefix): value
        for name, value in saved.items()
        if isinstance(name, str) and name.startswith(prefix)
    }


def get_weights(state: dict[str, Any], kind: str = TRAINED) -> tuple[dict[str, Any], str]:
    """Returns the weights in a checkpoint, and a description of them.

    Args:
        state: the content of a checkpoint, or a plain state dict.
        kind: ``trained``, or the average to prefer if there is one: ``ema`` or ``swa``.
    """
    averaged = None if kind == TRAINED else get_averaged(state, kind)
    if averaged is None:
        return state.get("state_dict", state), "weights"
    return averaged, f"{kind.upper()} weights"


def choose_weights(
    state: dict[str, Any], kind: str | None, config: Any
) -> tuple[dict[str, Any], str]:
    """Returns the weights to test, and a description of them.

    Args:
        state: the content of a checkpoint.
        kind: ``trained``, ``ema`` or ``swa``; None means the average that ``trainer.monitor``
            names, if there is one, or the trained weights.
        config: of this test.

    Raises:
        UserError: the checkpoint has no such weights.
    """
    if kind is None:
        monitor = str(config["trainer"].get("monitor"))
        averages = (kind for kind in AVERAGES if f" val_{kind}_" in monitor)
        return get_weights(state, next(averages, TRAINED))
    if kind != TRAINED and get_averaged(state, kind) is None:
        found = [TRAINED, *(kind for kind in AVERAGES if get_averaged(state, kind) is not None)]
        raise UserError(
            f"{config.resume}: holds no {kind.upper()} weights; it has: {', '.join(found)}"
        )
    return get_weights(state, kind)
