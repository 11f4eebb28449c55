"""torchmetrics' MeanAveragePrecision: plain names for its numbers, of which only defined ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from base.loop.metrics import name_of
from base.loop.stateful_metric import StatefulMetric

NAME = "MeanAveragePrecision"
NO_VALUE = -1.0  # in COCO's evaluation: for example of large boxes, if no target is large
FIELDS = ("boxes", "labels", "scores", "masks", "iscrowd", "area")  # that the metric reads
MASK_THRESHOLD = 0.5  # of the probabilities in a predicted mask
SUMMARY = ("ious", "precision", "recall", "scores")  # tables of `extended_summary`


class BoxMetric(StatefulMetric):
    """A MeanAveragePrecision, whose value is a dict.

    Its keys are the names of the numbers, after the name of the metric if the config gives one.
    """

    def update(self, output: Any, target: Any) -> None:
        super().update(_keep_fields(output), _keep_fields(target))

    def compute_numbers(self, name: str, labels: Sequence[str]) -> dict[str, float]:
        """The numbers that have a value. Those of a single class end with the name of the class."""
        values = self.compute()
        classes = values.pop("classes").reshape(-1).tolist()
        numbers: dict[str, float] = {}
        for key, value in values.items():
            logged = get_logged_name(name, key)
            if key.rpartition("_")[2] in SUMMARY or not isinstance(value, torch.Tensor):
                continue
            if not key.endswith("per_class"):
                numbers[logged] = float(value)
            elif self.metric.class_metrics:
                named = zip(classes, value.reshape(-1).tolist(), strict=True)
                numbers |= {f"{logged}_{name_label(label, labels)}": x for label, x in named}
        return {key: number for key, number in numbers.items() if number != NO_VALUE}


def get_logged_name(name: str, key: str) -> str:
    """The name of a number: ``map_50``; ``box_map_50`` if the config names the metric ``box``.

    A key that begins with the name of the metric stays as it is.
    """
    if name == NAME or key == name or key.startswith(f"{name}_"):
        return key
    return f"{name}_{key}"


def get_chart_name(metric: Any) -> str:
    """The name of a metric's number for a chart, or of the first one of a MeanAveragePrecision."""
    name = name_of(metric)
    if type(metric).__name__ != NAME:
        return name
    return get_logged_name(
        name, "map" if len(metric.iou_type) == 1 else f"{metric.iou_type[0]}_map"
    )


def name_label(label: int, labels: Sequence[str]) -> str:
    """The name of a class, or its number."""
    return labels[label] if 0 <= label < len(labels) else str(label)


def _keep_fields(items: Any) -> Any:
    """The fields that the metric reads, in a form that it and checkpoints take."""
    if not isinstance(items, list | tuple) or not all(isinstance(item, dict) for item in items):
        return items
    return [
        {key: _make_plain(key, value) for key, value in item.items() if key in FIELDS}
        for item in items
    ]


def _make_plain(key: str, value: Any) -> Any:
    """A plain tensor, also from one of ``torchvision.tv_tensors``, a subclass.

    Mask R-CNN predicts masks (n, 1, H, W) of probabilities; the metric takes (n, H, W) uint8.
    """
    if not isinstance(value, torch.Tensor):
        return value
    value = value.as_subclass(torch.Tensor)
    if key != "masks":
        return value
    value = value.squeeze(1) if value.ndim == 4 else value
    return (value > MASK_THRESHOLD if value.is_floating_point() else value).to(torch.uint8)
