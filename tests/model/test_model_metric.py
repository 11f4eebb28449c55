"""The shipped metrics, for targets of every shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from model.metric import accuracy, binary_accuracy, top_k_acc
from utils.errors import UserError

CLASSES = torch.tensor([0, 1, 2, 0])
SCORES = F.one_hot(torch.tensor([0, 1, 1, 2]), 3).float() + 0.1 * torch.arange(3)


@pytest.mark.parametrize(
    "target",
    [CLASSES, CLASSES[:, None], CLASSES.float(), F.one_hot(CLASSES), 0.9 * F.one_hot(CLASSES)],
    ids=["(N,)", "(N, 1)", "float", "one-hot", "probabilities"],
)
def test_classes_may_have_any_usual_shape(target: torch.Tensor) -> None:
    assert accuracy(SCORES, target) == 0.5
    assert top_k_acc(SCORES, target, k=1) == 0.5
    assert top_k_acc(SCORES, target, k=2) == 0.75


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2), (1, 2, 2, 1)])
def test_every_pixel_counts(shape: tuple[int, ...]) -> None:
    scores = SCORES.T.reshape(1, 3, 2, 2)
    assert accuracy(scores, CLASSES.reshape(shape)) == 0.5
    assert top_k_acc(scores, CLASSES.reshape(shape), k=2) == 0.75


def test_fewer_classes_than_k_are_all_among_the_top() -> None:
    assert top_k_acc(torch.eye(2), torch.tensor([1, 0])) == 1.0


@pytest.mark.parametrize("logits", [(4,), (4, 1)])
@pytest.mark.parametrize("target", [(4,), (4, 1)])
def test_binary_targets_and_logits_may_be_columns(logits: Any, target: Any) -> None:
    output = torch.tensor([1.0, -1, 2, -2]).reshape(logits)
    assert binary_accuracy(output, torch.tensor([1, 1, 1, 0]).reshape(target)) == 0.75


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (accuracy, (4,), (4,)),
        (accuracy, (4, 1), (4,)),
        (accuracy, (4, 3), (3,)),
        (top_k_acc, (4, 3), (4, 2)),
        (binary_accuracy, (4, 3), (4,)),
        (binary_accuracy, (4,), (1,)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(metric: Any, output: Any, target: Any) -> None:
    with pytest.raises(UserError, match=r"\(4"):
        metric(torch.ones(output), torch.ones(target))


@pytest.mark.parametrize("metric", [accuracy, top_k_acc])
def test_an_output_in_a_mapping_is_refused_in_a_line(metric: Any) -> None:
    with pytest.raises(UserError, match="metrics: accuracy needs tensors, not dict and Tensor"):
        metric({"logits": torch.zeros(2, 3)}, torch.zeros(2).long())


def test_the_best_of_none_is_refused() -> None:
    with pytest.raises(UserError, match="k=0 must be at least 1"):
        top_k_acc(torch.ones(4, 3), torch.ones(4), k=0)
