"""Rules for restoring single objects of a run from a checkpoint."""

from __future__ import annotations

import inspect
import logging
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer

from base.checkpoint.changes import (
    changed_args,
    compare_args,
    get_section,
    has_other_patterns,
    is_regrouped,
    is_rescheduled,
    is_same_loss,
    list_optimizer_sections,
)
from base.checkpoint.file import FORMAT
from base.loop.assembly import LOSS_GROUP
from base.loop.several_optimizers import list_optimizers
from base.parallel.strategy import Parallel
from utils.distributed import is_main, rank, world_size
from utils.errors import UserError, one_line

REQUIRED_TYPES: dict[str, Any] = {
    "state_dict": dict, "epoch": int, "optimizer": dict
}  # fmt: skip
OPTIONAL_TYPES: dict[str, Any] = {
    "monitor_best": int | float, "not_improved_count": int, "best": list, "parts": dict, "step": int
}  # fmt: skip
# Arguments of a data loader that divide its dataset, and those that change the order of samples.
SPLIT_ARGS = (
    *("validation_split", "split_seed", "stratify", "folds", "fold", "groups"),
    *("validation_split_by", "validation_gap"),
)
ORDER_ARGS = ("dataset", "shuffle", "sampler", *SPLIT_ARGS)


def check_types(state: dict[str, Any], path: Path) -> None:
    """Raises UserError if a run cannot resume from this state."""
    types = REQUIRED_TYPES | {key: t for key, t in OPTIONAL_TYPES.items() if key in state}
    wrong = [key for key, kind in types.items() if not isinstance(state.get(key), kind)]
    if not wrong and (state["epoch"] < 0 or isinstance(state["epoch"], bool)):
        wrong.append("epoch")
    if wrong or state.get("config", {}) is None or state.get("format", FORMAT) != FORMAT:
        verb = "do" if len(wrong) > 1 else "does"
        reason = f"{', '.join(wrong) or 'its format'} {verb} not fit"
        raise UserError(f"{path}: a run cannot resume from this file: {reason}")


def restore_optimizer(
    optimizer: Optimizer,
    model: nn.Module,
    parallel: Parallel,
    state: dict[str, Any],
    config: dict[str, Any],
    path: Path,
) -> str:
    """Restores the optimizer, unless its type or its parameter groups have changed.

    Arguments that have changed in the config take effect.

    Args:
        optimizer, model, parallel: of this run; the model is wrapped.
        state, path: the content of the checkpoint, and its file for the error.
        config: the config of this run.

    Returns:
        A description of the outcome.

    Raises:
        UserError: the state belongs to other parameters.
    """
    old = state.get("config", {})
    before, after = list_optimizer_sections(old), list_optimizer_sections(config)
    old_type = ", ".join(str(item.get("type")) for item in before)
    new_type = ", ".join(str(item.get("type")) for item in after)
    reason = ""
    if before and old_type != new_type:
        reason = f"The optimizer was {old_type} and is {new_type} now: it"
    elif has_other_patterns(old, config):
        reason = "`optimizer` has other patterns of parameters now: the optimizer"
    elif is_regrouped(old, config):
        reason = "`transfer` trains other parameter groups now: the optimizer"
    if reason:
        logging.getLogger("trainer").warning("%s is reset.", reason)
        return "reset"
    configured = [dict(group) for group in optimizer.param_groups]
    try:
        is_same = is_same_loss(old, config)
        saved, is_new_loss = adapt_loss_group(state["optimizer"], optimizer.state_dict(), is_same)
        parallel.load_optimizer_state(model, optimizer, saved)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        message = f"{path}: the optimizer's state does not fit: {one_line(error)}"
        raise UserError(message) from None
    names = _take_configured(optimizer, configured, old, config)
    outcome = f"kept, with a new {', '.join(names)}" if names else "kept"
    return f"{outcome}; new for the parameters of the loss" if is_new_loss else outcome


def _take_configured(
    optimizer: Optimizer, configured: list[dict[str, Any]], old: Any, config: dict[str, Any]
) -> list[str]:
    """Gives the groups the arguments that have changed in the config. Returns their names."""
    # A new scheduler has set learning rates in its constructor, which must stay.
    has_new_schedule = is_rescheduled(old, config)
    after = list_optimizer_sections(config)
    before = list_optimizer_sections(old) or [{} for _ in after]
    changed = [compare_args(*pair) for pair in zip(before, after, strict=True)]
    remaining = iter(configured)
    for member, names in zip(list_optimizers(optimizer), changed, strict=False):
        for group in member.param_groups:
            values = next(remaining)
            keys = _list_settings(member, values) if has_new_schedule else names
            group.update({key: values[key] for key in keys if key in values})
    return list(dict.fromkeys(chain.from_iterable(changed)))


def _list_settings(optimizer: Optimizer, group: dict[str, Any]) -> list[str]:
    """The keys of a group that its constructor or a scheduler has set, and no counter of steps."""
    arguments = inspect.signature(type(optimizer)).parameters
    keys = [key for key in group if key in arguments or key not in optimizer.defaults]
    return [key for key in keys if key != "params"]


def adapt_loss_group(
    state: dict[str, Any], present: dict[str, Any], is_same: bool
) -> tuple[dict[str, Any], bool]:
    """Makes an optimizer's state fit, if only the loss has other parameters now.

    Args:
        state: of the checkpoint.
        present: of the optimizer of this run.
        is_same: whether the loss is the same.

    Returns:
        The state to load, and whether the parameters of the loss start anew in it.
    """
    groups, present_groups = list(state["param_groups"]), present["param_groups"]
    index, present_index = _find_loss_group(groups), _find_loss_group(present_groups)
    saved = None if index is None else groups.pop(index)
    current = {} if present_index is None else present_groups[present_index]
    count = 0 if saved is None else len(saved["params"])
    if is_same and count == len(current.get("params", ())):
        return state, False
    removed = set() if saved is None else set(saved["params"])
    values = {number: item for number, item in state["state"].items() if number not in removed}
    if present_index is not None:
        kept = chain.from_iterable(group["params"] for group in groups)
        free = max(kept, default=-1) + 1  # the loss may not be the last group
        numbers = list(range(free, free + len(current["params"])))
        groups.insert(present_index, current | {"params": numbers})
    return state | {"state": values, "param_groups": groups}, present_index is not None


def _find_loss_group(groups: list[dict[str, Any]]) -> int | None:
    """The index of the loss's group, the last one of an optimizer; None if there is none."""
    found = [index for index, group in enumerate(groups) if group.get("name") == LOSS_GROUP]
    return found[-1] if found else None


def state_of_this_rank(merged: Any, of_ranks: list[Any] | None) -> Any:
    """This rank's own state. With another number of ranks, the main rank gets the merged one."""
    states = of_ranks or [merged]
    if len(states) == world_size():
        return states[rank()]
    return merged if is_main() else None


def check_scheduler_state(present: dict[str, Any], saved: dict[str, Any]) -> None:
    """Checks a scheduler's state, because a scheduler accepts values for any attribute.

    Raises:
        ValueError: an attribute is unknown or has another type.
    """
    numbers = (int, float, np.number, np.bool_)
    for key, value in saved.items():
        expected = numbers if isinstance(present.get(key), numbers) else type(present.get(key))
        fits = value is None or present.get(key) is None or isinstance(value, expected)
        if key not in present or not fits:
            raise ValueError(f"a scheduler's {key} cannot be of type {type(value).__name__}")


def complete_position(saved: dict[str, Any], config: Any) -> dict[str, Any]:
    """Adds the number of samples to a position that was saved in batches only.

    Args:
        saved: the state of the loader.
        config: of the checkpoint.
    """
    args = get_section(get_section(config, "data_loader"), "args")
    size = args.get("batch_size")
    if "samples" in saved or "consumed" not in saved or args.get("batch_sampler") is not None:
        return saved
    if not isinstance(size, int) or isinstance(size, bool):
        return saved
    return saved | {"samples": saved["consumed"] * size, "batch_size": size}


def describe_order(old: Any, new: Any, saved: dict[str, Any], position: dict[str, Any]) -> str:
    """Describes how the order of the samples was restored.

    Args:
        old, new: the config of the checkpoint, and that of this run.
        saved: the state of the loader in the checkpoint.
        position: its state now, in the middle of an epoch; otherwise empty.
    """
    if old.get("seed") != new.get("seed"):
        return "reset, because seed changed"
    changed = [key for key in changed_args(old, new, "data_loader") if key in ORDER_ARGS]
    if changed and position.get("consumed"):
        names = ", ".join(f"data_loader.args.{key}" for key in changed)
        return f"reset, because {names} changed: in this epoch, samples may come twice or never"
    if divided := [f"data_loader.args.{key}" for key in changed if key in SPLIT_ARGS]:
        names = ", ".join(divided)
        return f"kept, but {names} changed: the model may know samples of the new validation part"
    is_known = "samples" in position and "samples" in saved
    if not is_known or position["batch_size"] == saved["batch_size"]:
        return "kept"
    done, size = position["samples"], position["batch_size"]
    return f"kept: the epoch continues after {done} samples, in batches of {size or 'a sampler'}"
