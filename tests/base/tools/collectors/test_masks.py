"""A segmentation is collected as counts of pixels, in every form that losses take."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics import JaccardIndex

from base.loop.collector import Collection
from base.loop.evaluate import evaluate, find_predictions
from base.loop.losses import WeightedSum
from base.loop.metrics import MetricSet
from base.loop.stateful_metric import StatefulMetric
from base.loop.task import TaskFacts
from base.tools.collectors.masks import Masks

CPU = torch.device("cpu")
CROSS_ENTROPY = partial(F.cross_entropy, ignore_index=255)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def draw_classes(*shape: int, count: int = 3) -> torch.Tensor:
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(1))


def collect(output: Any, target: Any, criterion: Any, task: str | None = None) -> Any:
    rows = Collection(TaskFacts(criterion, task))
    rows.add(output, target, len(target))
    return rows.chosen


def count_by_hand(prediction: torch.Tensor, target: torch.Tensor, count: int) -> list[list[int]]:
    return [
        [int(((target == row) & (prediction == column)).sum()) for column in range(count)]
        for row in range(count)
    ]


CLASSES = draw_classes(2, 4, 5)
BITS = draw_classes(2, 4, 5, count=2)


@pytest.mark.parametrize(
    ("output", "target", "criterion"),
    [
        (draw(2, 3, 4, 5), CLASSES, nn.CrossEntropyLoss()),
        (draw(2, 3, 4, 5), CLASSES[:, None], lambda output, target: output.mean()),
        (draw(2, 3, 4, 5), F.one_hot(CLASSES, 3).movedim(3, 1).float(), F.cross_entropy),
        (draw(2, 3, 4, 4, 5), CLASSES[:, None].expand(2, 4, 4, 5), F.cross_entropy),
        (draw(2, 1, 4, 5), BITS[:, None].float(), nn.BCEWithLogitsLoss()),
        (draw(2, 4, 5), BITS.float(), F.binary_cross_entropy_with_logits),
    ],
    ids=["classes", "a channel", "probabilities", "volumes", "one logit", "no channel"],
)
def test_pixels_are_counted_in_every_form(output: Any, target: Any, criterion: Any) -> None:
    found = collect(output, target, criterion)
    assert isinstance(found, Masks)
    binary = found.n_classes == 2
    prediction = (output > 0).long() if binary else output.argmax(1)
    classes = target.argmax(1) if output.shape == target.shape and not binary else target
    classes = classes.reshape(prediction.shape)
    assert found.confusion.tolist() == count_by_hand(prediction, classes, found.n_classes)
    right = (prediction == classes).flatten(1).float().mean(1)
    assert torch.allclose(found.scores[:, 1], right)


@pytest.mark.parametrize(
    ("output", "target", "criterion", "task"),
    [
        (draw(2, 3, 7), draw_classes(2, 7), nn.CrossEntropyLoss(), None),
        (draw(2, 3, 4, 5), draw_classes(2, 4, 6), nn.CrossEntropyLoss(), None),
        (draw(2, 3, 4, 5), CLASSES, nn.CrossEntropyLoss(), "regression"),
    ],
    ids=["a sequence", "another size", "another task"],
)
def test_other_data_are_no_masks(output: Any, target: Any, criterion: Any, task: Any) -> None:
    assert not isinstance(collect(output, target, criterion, task), Masks)


def test_the_task_decides_what_a_loss_of_the_project_does_not_show() -> None:
    def dice(output: Any, target: Any) -> Any:
        return output.mean()

    masks = BITS[:, None].float()
    assert collect(draw(2, 1, 4, 5), masks + 0.5, dice) is None
    assert len(collect(draw(2, 1, 4, 5), masks + 0.5, dice, "segmentation")) == 2
    assert isinstance(collect(draw(2, 1, 4, 5), masks, dice), Masks)  # 0 and 1 say it, too
    assert collect(draw(2, 1, 4, 5), masks, nn.MSELoss()) is None


def test_outputs_from_0_to_1_are_probabilities_for_a_loss_of_the_project() -> None:
    def dice(output: Any, target: Any) -> Any:
        return output.mean()

    masks = BITS[:, None].float()
    found = collect(0.1 + 0.8 * masks, masks, dice)
    assert found.confusion.tolist() == [[int((masks == 0).sum()), 0], [0, int(masks.sum())]]


def test_ignored_pixels_and_absent_classes_count_nowhere() -> None:
    target = torch.zeros(2, 2, 2, dtype=torch.int64)
    target[0, 0], target[1] = 255, 255
    output = F.one_hot(torch.ones(2, 2, 2, dtype=torch.int64), 4).movedim(3, 1).float()
    output[0, :, 1, 0] = torch.tensor([9.0, 0, 0, 0])
    found = collect(output, target, CROSS_ENTROPY)
    assert (int(found.confusion.sum()), found.num_left_out, found.num_unknown) == (2, 6, 0)
    iou, accuracy = found.scores[0].tolist()
    assert (iou, accuracy) == (0.25, 0.5)  # class 0: 1/2, class 1: 0; the others are absent
    assert found.scores[1].isnan().all()
    assert collect(output, target, F.cross_entropy).num_unknown == 6


def test_the_term_of_a_sum_says_what_is_ignored() -> None:
    loss = WeightedSum(["dice", "cross_entropy"], [lambda a, b: a.mean(), CROSS_ENTROPY])
    assert TaskFacts(loss).ignore_index == 255


def test_a_pass_keeps_two_numbers_of_each_sample() -> None:
    masks = Masks(TaskFacts(CROSS_ENTROPY))
    for _ in range(40):
        masks.add(draw(2, 3, 600, 500), draw_classes(2, 600, 500), 2)
    kept = masks.state_dict()
    assert sum(value.numel() for value in (kept["confusion"], kept["scores"])) == 11 + 2 * 80
    assert len(masks.maps) == 16
    assert max(masks.maps[0].target.shape) <= 256


def test_pictures_of_several_sizes_and_ranks_give_the_counts_of_one_pass() -> None:
    batches = [(draw(1, 3, size, 5), draw_classes(1, size, 5)) for size in (4, 6, 9)]
    single = Masks(TaskFacts(CROSS_ENTROPY))
    for output, target in batches:
        single.add(output, target, 1)
    states = [collect(*batch, CROSS_ENTROPY).state_dict() for batch in batches]
    merged = Masks(TaskFacts(CROSS_ENTROPY)).merge(states)
    assert torch.equal(merged.confusion, single.confusion)
    assert torch.equal(merged.scores, single.scores)


def test_samples_keep_their_indices_around_batches_that_are_ignored() -> None:
    target = draw_classes(2, 4, 5)
    batches = [(draw(2, 3, 4, 5), target), (draw(2, 3, 4, 5), torch.full_like(target, 255))]
    rows = Collection(TaskFacts(CROSS_ENTROPY))
    metrics = MetricSet([], rows=rows)
    evaluate(nn.Identity(), batches[::-1] + batches, CROSS_ENTROPY, metrics, CPU)
    assert rows.chosen is not None
    assert rows.chosen.locate(list(range(8))) == [2, 3, 4, 5]
    assert rows.chosen.locate(list(range(7))) is None


def test_the_scores_of_torchvisions_models_are_taken_out() -> None:
    scores, aux = draw(1, 3, 4, 4), draw(1, 3, 4, 4)
    assert find_predictions({"out": scores, "aux": aux}) is scores
    assert scores.aux is aux
    other = {"out": scores, "boxes": aux}
    assert find_predictions(other) is other


@pytest.mark.parametrize("target", [CLASSES, CLASSES[:, None]], ids=["classes", "a channel"])
def test_torchmetrics_leaves_ignored_pixels_out(target: torch.Tensor) -> None:
    output, target = draw(2, 3, 4, 5), target.clone()
    target[0, ..., :2, :] = 255
    metric = StatefulMetric(JaccardIndex(task="multiclass", num_classes=3, ignore_index=255))
    metric.update(output, target)
    found = collect(output, target, CROSS_ENTROPY).confusion.double()
    union = found.sum(0) + found.sum(1) - found.diagonal()
    assert metric.compute() == pytest.approx(float((found.diagonal() / union).mean()))


def test_torchmetrics_takes_the_floats_of_a_binary_loss() -> None:
    metric = StatefulMetric(JaccardIndex(task="binary"))
    output, target = draw(2, 1, 4, 5), BITS.float()
    metric.update(output, target)
    prediction, bits = output[:, 0] > 0, BITS == 1
    iou = (prediction & bits).sum() / (prediction | bits).sum()
    assert metric.compute() == pytest.approx(float(iou))
