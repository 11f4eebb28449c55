"""The boxes of a pass: those that a detector predicts, and those of the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch

from base.loop.collector import Collector
from base.loop.task import TaskFacts

MAX_BOXES = 100  # of a picture, those with the highest scores; as in COCO's evaluation


class Boxes(NamedTuple):
    """The boxes of one picture.

    Attributes:
        target: (n, 5) float32: x1, y1, x2, y2, label.
        predicted: (m, 6) float32: x1, y1, x2, y2, label, score. m is at most ``MAX_BOXES``.
    """

    target: torch.Tensor
    predicted: torch.Tensor


class BoxCollector(Collector):
    """Collects the boxes of each picture: outputs and targets are lists of dicts, as torchvision's.

    Targets that are marked by ``iscrowd`` are left out. Nothing is kept of a pass with more numbers
    than ``facts.limit``.
    """

    can_merge = True

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        """Whether each picture has ``boxes``, ``labels`` and ``scores``, and a target of boxes."""
        return predict_boxes(output) and have_boxes(target)

    def reset(self) -> None:
        self._pictures: list[Boxes] | None = []
        self._numel = 0

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        if self._pictures is None:
            return
        if not self.fits(output, target, self.facts) or len(output) != len(target):
            self._pictures = None
            return
        for predicted, wanted in zip(output, target, strict=True):
            boxes = Boxes(_join_target(wanted), _join_predicted(predicted))
            self._numel += boxes.target.numel() + boxes.predicted.numel()
            self._pictures.append(boxes)
        if self._numel > self.facts.limit:
            self._pictures = None

    def __len__(self) -> int:
        return len(self._pictures or ())

    def list_boxes(self, count: int | None = None) -> list[Boxes]:
        """The boxes of the first ``count`` pictures, in order, on the CPU; None for all."""
        pictures = (self._pictures or [])[:count]
        return [Boxes(boxes.target.cpu(), boxes.predicted.cpu()) for boxes in pictures]

    def state_dict(self) -> dict[str, Any]:
        return {"pictures": [tuple(boxes) for boxes in self.list_boxes()]}

    def merge(self, states: list[dict[str, Any]]) -> Self:
        merged = type(self)(self.facts)
        merged._pictures = [Boxes(*boxes) for state in states for boxes in state["pictures"]]
        return merged


def predict_boxes(output: Any) -> bool:
    """Whether these are the predictions of a detector."""
    return _have(output, "boxes", "labels", "scores")


def have_boxes(targets: Any) -> bool:
    """Whether these are the targets of a detector."""
    return _have(targets, "boxes", "labels")


def _have(items: Any, *keys: str) -> bool:
    """Whether this is a list of dicts that have tensors by these keys."""
    return (
        isinstance(items, list | tuple)
        and bool(items)
        and all(isinstance(item, Mapping) for item in items)
        and all(isinstance(item.get(key), torch.Tensor) for item in items for key in keys)
    )


def _join_target(target: Mapping[str, torch.Tensor]) -> torch.Tensor:
    joined = _join(target["boxes"], target["labels"])
    crowd = target.get("iscrowd")
    if crowd is None or crowd.shape != joined.shape[:1]:
        return joined
    # A selection would wait for an accelerator, so the view leaves out those with this label.
    return torch.where(crowd.bool()[:, None], -1.0, joined)


def _join_predicted(predicted: Mapping[str, torch.Tensor]) -> torch.Tensor:
    boxes, labels, scores = (predicted[key].detach() for key in ("boxes", "labels", "scores"))
    if len(scores) > MAX_BOXES:
        best = scores.topk(MAX_BOXES).indices
        boxes, labels, scores = boxes[best], labels[best], scores[best]
    return _join(boxes, labels, scores)


def _join(boxes: torch.Tensor, *columns: torch.Tensor) -> torch.Tensor:
    """(n, 4 + columns) float32."""
    boxes = boxes.detach().as_subclass(torch.Tensor).reshape(-1, 4).float()
    return torch.cat([boxes, *(column.detach().float()[:, None] for column in columns)], dim=1)
