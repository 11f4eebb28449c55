"""Compares the losses of two configs, and makes an optimizer's state fit another loss."""

from __future__ import annotations

from typing import Any

from base.loop.assembly import LOSS_GROUP


def is_same_loss(old: Any, new: Any) -> bool:
    """Whether two configs have the same loss. One of a foreign checkpoint may be unreadable."""
    try:
        return bool(old["loss"] == new["loss"])
    except (KeyError, TypeError):
        return True


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
    saved = groups.pop() if groups and groups[-1].get("name") == LOSS_GROUP else None
    current = present_groups[-1] if present_groups[-1].get("name") == LOSS_GROUP else None
    count = 0 if saved is None else len(saved["params"])
    if is_same and count == (0 if current is None else len(current["params"])):
        return state, False
    removed = set() if saved is None else set(saved["params"])
    values = {number: item for number, item in state["state"].items() if number not in removed}
    if current is not None:
        groups.append(current)
    return state | {"state": values, "param_groups": groups}, current is not None
