"""Explains mistakes in the targets of detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

WANTED = "give {boxes: (n, 4) float32 of x1, y1, x2, y2, labels: (n,) int64}"
FROM_COCO = "torchvision.ops.box_convert(boxes, 'xywh', 'xyxy')"
DETECTION = "torchvision.models.detection"
WITH_BACKGROUND = {f"{DETECTION}.roi_heads.RoIHeads", f"{DETECTION}.ssd.SSD"}  # as class 0


def find_mistake(targets: Any) -> str | None:
    """Returns the first mistake in the targets of a batch; None if there is none.

    Args:
        targets: one for each picture. If none of them is a dict with ``boxes``, they are not for a
            detector, and are not checked.
    """
    if not isinstance(targets, list | tuple):
        return None
    if not any(map(_has_boxes, targets)):
        return None
    for number, target in enumerate(targets):
        if reason := _find_mistake(target):
            of_picture = f" of picture {number} of a batch" if len(targets) > 1 else ""
            return f"the target{of_picture} {reason}"
    return None


def explain_targets(error: BaseException, model: nn.Module, targets: Any) -> str | None:
    """Returns the mistake in the targets that made a detector fail; None if they have none.

    Args:
        error: raised by the model.
        model: may be wrapped, for example by DDP. None is returned unless it is a detector of
            torchvision.
        targets: of the batch.
    """
    if not is_detector(model):
        return None
    if not isinstance(targets, list | tuple) or not any(map(_has_boxes, targets)):
        found = _describe(targets)
        return f"a detector wants a list with a dict for each picture, not {found}; {WANTED}"
    if mistake := find_mistake(targets):
        return mistake
    if not isinstance(error, IndexError | RuntimeError) or "out of " not in str(error):
        return None
    labels = torch.cat([target["labels"] for target in targets])
    if not labels.is_cpu or not len(labels):  # an accelerator cannot be read after it failed
        return None
    shown = f"{int(labels.min())} to {int(labels.max())}"
    return f"the labels are {shown}; num_classes must be larger, because it counts the background"


def is_detector(model: nn.Module) -> bool:
    """Whether a model is, or holds, a detector of torchvision."""
    return any(name.startswith(f"{DETECTION}.") for name in _list_classes(model))


def list_traps(model: nn.Module, targets: Any) -> list[str]:
    """Lists what a detector accepts in its targets, but does not learn from.

    Args:
        model: a detector of torchvision.
        targets: of a batch. Nothing is found if they have mistakes.
    """
    if find_mistake(targets):
        return []
    found = [target for target in targets if _has_boxes(target) and len(target["boxes"])]
    if not found:
        return []
    traps = []
    boxes = torch.cat([target["boxes"] for target in found])
    if bool(((boxes >= 0) & (boxes <= 1)).all()):
        advice = "give pixels: multiply them by the width and height of the picture"
        traps.append(f"all boxes of a batch lie between 0 and 1; {advice}")
    is_zero = torch.cat([target["labels"] for target in found]) == 0
    if bool(is_zero.any()) and WITH_BACKGROUND & _list_classes(model):
        traps.append("objects with the label 0 are learned as background; count classes from 1")
    return traps


def _list_classes(model: nn.Module) -> set[str]:
    kinds = {kind for part in model.modules() for kind in type(part).__mro__}
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}


def _has_boxes(target: Any) -> bool:
    return isinstance(target, Mapping) and "boxes" in target


def _describe(targets: Any) -> str:
    if isinstance(targets, list | tuple) and targets:
        return f"a {type(targets).__name__} of {type(targets[0]).__name__}"
    return f"a {type(targets).__name__}"


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
    if len(labels) and labels.min() < 0:
        return f"has the label {int(labels.min())}; classes count from 1, and 0 is the background"
    return _find_wrong_box(boxes)


def _find_wrong_box(boxes: torch.Tensor) -> str | None:
    is_right = torch.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    if is_right.all():
        return None
    x1, y1, x2, y2 = box = boxes[int((~is_right).nonzero()[0])].tolist()
    shown = ", ".join(f"{value:g}" for value in box)
    if x1 == x2 or y1 == y2:
        return f"has the box ({shown}) without an area; leave such boxes out"
    advice = f"if it is (x, y, width, height), as in COCO: {FROM_COCO}"
    return f"has the box ({shown}); a box has x1 < x2 and y1 < y2 (x1, y1, x2, y2); {advice}"


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
