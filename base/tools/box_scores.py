"""Compares predicted boxes with those of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from base.tools.collectors.boxes import Boxes

IOU_THRESHOLD = 0.5
SCORE_THRESHOLD = 0.5  # of the boxes that count as predicted; an AP uses all scores
LEFT_OUT = -1  # the label of targets that do not count


class Matched(NamedTuple):
    """The boxes of one picture, in the order of falling scores, and whether they are right.

    Attributes:
        target: (n, 4) float32.
        target_label: (n,) int.
        is_found: (n,) bool, whether a predicted box with a score of ``SCORE_THRESHOLD`` matches.
        box: (m, 4) float32.
        label: (m,) int.
        score: (m,) float32.
        is_right: (m,) bool, whether the box matches a target.
    """

    target: NDArray[np.float32]
    target_label: NDArray[np.int64]
    is_found: NDArray[np.bool_]
    box: NDArray[np.float32]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    is_right: NDArray[np.bool_]

    @property
    def is_shown(self) -> NDArray[np.bool_]:
        """(m,) bool, whether a box counts as predicted."""
        return self.score >= SCORE_THRESHOLD

    @property
    def n_missed(self) -> int:
        return int((~self.is_found).sum())

    @property
    def n_wrong(self) -> int:
        """The number of predicted boxes that match no target."""
        return int((self.is_shown & ~self.is_right).sum())


class ClassScore(NamedTuple):
    """The scores of a class.

    Attributes:
        precision: of the boxes with a score of ``SCORE_THRESHOLD``; None without such boxes.
        recall: the fraction of the targets that these boxes find; None without a target.
        ap: the average precision over all scores, at one IoU; None without a target.
        support: the number of targets.
    """

    precision: float | None
    recall: float | None
    ap: float | None
    support: int


def match(boxes: Boxes) -> Matched:
    """Matches each predicted box, the highest score first, with the best target that is left.

    A match is one of the same class with an IoU of at least ``IOU_THRESHOLD``, as in PASCAL VOC and
    COCO.
    """
    from torchvision.ops import box_iou

    target = boxes.target[boxes.target[:, 4] != LEFT_OUT]
    order = boxes.predicted[:, 5].argsort(descending=True, stable=True)
    predicted = boxes.predicted[order]
    overlaps = box_iou(predicted[:, :4], target[:, :4])
    overlaps[predicted[:, 4, None] != target[None, :, 4]] = 0.0
    is_right = torch.zeros(len(predicted), dtype=torch.bool)
    is_found = torch.zeros(len(target), dtype=torch.bool)
    if len(target):
        for row in range(len(predicted)):
            overlap, column = overlaps[row].max(dim=0)
            if overlap >= IOU_THRESHOLD:
                is_right[row] = True
                is_found[column] = predicted[row, 5] >= SCORE_THRESHOLD
                overlaps[:, column] = 0.0
    return Matched(
        target[:, :4].numpy(),
        target[:, 4].long().numpy(),
        is_found.numpy(),
        predicted[:, :4].numpy(),
        predicted[:, 4].long().numpy(),
        predicted[:, 5].numpy(),
        is_right.numpy(),
    )


def score_classes(pictures: Sequence[Matched]) -> dict[int, ClassScore]:
    """Scores each class that has a target or a predicted box, by its label."""
    if not pictures:
        return {}
    targets = np.concatenate([picture.target_label for picture in pictures])
    labels = np.concatenate([picture.label for picture in pictures])
    scores = np.concatenate([picture.score for picture in pictures])
    is_right = np.concatenate([picture.is_right for picture in pictures])
    is_shown = np.concatenate([picture.is_shown for picture in pictures])
    found = {}
    for label in sorted({*targets.tolist(), *labels[is_shown].tolist()}):
        support = int((targets == label).sum())
        of_class = labels == label
        n_shown = int((of_class & is_shown).sum())
        n_right = int((of_class & is_shown & is_right).sum())
        ap = measure_ap(scores[of_class], is_right[of_class], support) if support else None
        precision = n_right / n_shown if n_shown else None
        recall = n_right / support if support else None
        found[label] = ClassScore(precision, recall, ap, support)
    return found


def measure_ap(scores: NDArray[np.float32], is_right: NDArray[np.bool_], support: int) -> float:
    """The average precision over 101 recalls, each with the best precision that is left.

    Source: Lin et al. 2014, https://arxiv.org/abs/1405.0312, and pycocotools' ``COCOeval``.
    """
    is_right = is_right[np.argsort(-scores, kind="stable")]
    n_right = is_right.cumsum()
    recall = n_right / support
    precision = n_right / np.arange(1, len(is_right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[np.minimum(index, len(precision))].mean())
