"""Targets of detectors: what is wrong with them, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

WANTED = "give {boxes: (n, 4) float32 of x1, y1, x2, y2, labels: (n,) int64}"


def find_mistake(targets: Any) -> str | None:
    """Returns the first mistake in the targets of a batch; None if there is none.

    Args:
        targets: one for each picture. Anything but a list of dicts, some of which have ``boxes``,
            is no target of a detector, and has no mistake.
    """
    if not isinstance(targets, list | tuple):
        return None
    if not any(isinstance(target, Mapping) and "boxes" in target for target in targets):
        return None
    for number, target in enumerate(targets):
        if reason := _find_mistake(target):
            return f"the target of picture {number} of a batch {reason}"
    return None


def _find_mistake(target: Any) -> str | None:
    if not isinstance(target, Mapping):
        return f"is a {type(target).__name__}; {WANTED}"
    for key in ("boxes", "labels"):
        if not isinstance(target.get(key), torch.Tensor):
            found = f"a {type(target[key]).__name__} as {key}" if key in target else f"no {key}"
            return f"has {found}; {WANTED}"
    boxes, labels = target["boxes"], target["labels"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        empty = ", and (0, 4) without an object" if boxes.numel() == 0 else ""
        return f"has boxes of shape {tuple(boxes.shape)}; give (n, 4){empty}"
    if boxes.dtype is not torch.float32:
        return f"has boxes of {_name(boxes)}; give float32, for example by boxes.float()"
    if labels.dtype is not torch.int64:
        return f"has labels of {_name(labels)}; give int64, for example by labels.long()"
    if labels.shape != boxes.shape[:1]:
        return f"has {len(boxes)} boxes and labels of shape {tuple(labels.shape)}; give (n,)"
    return _find_wrong_box(boxes)


def _find_wrong_box(boxes: torch.Tensor) -> str | None:
    is_right = torch.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    if is_right.all():
        return None
    box = boxes[int((~is_right).nonzero()[0])].tolist()
    shown = ", ".join(f"{value:g}" for value in box)
    return f"has the box ({shown}); a box has x1 < x2 and y1 < y2 (x1, y1, x2, y2)"


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
