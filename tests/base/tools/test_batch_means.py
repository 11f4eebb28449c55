"""Functions that are not means over samples are found by their numbers, not by their names."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torchmetrics.functional import auroc, f1_score, mean_absolute_error, r2_score

from base.tools.batch_means import advise, find_batch_means, is_mean_over_samples
from model.metric import accuracy, mae_by_step
from tests.base.tools.scores import make_scores


def rmse(output: Any, target: Any) -> Any:
    return (output - target).square().mean().sqrt()


def r2_of_samples(output: Any, target: Any) -> Any:
    """A mean over samples whose name says otherwise."""
    return (output - target).abs().mean()


def make_numbers() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.rand(64, 3, generator=random), torch.rand(64, 3, generator=random)


@pytest.mark.parametrize("function", [mae_by_step, mean_absolute_error, r2_of_samples])
def test_a_mean_of_numbers_over_samples_is_one(function: Any) -> None:
    assert is_mean_over_samples(function, *make_numbers())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (partial(f1_score, task="multiclass", num_classes=3, average="macro"), False),
        (partial(auroc, task="multiclass", num_classes=3), False),
        (accuracy, True),
    ],
    ids=["f1", "auroc", "accuracy"],
)
def test_scores_of_classes_are_compared_with_those_of_halves(function: Any, expected: bool) -> None:
    assert is_mean_over_samples(function, *make_scores(200)) is expected


def test_what_cannot_be_compared_is_not_judged() -> None:
    assert is_mean_over_samples(rmse, torch.zeros(2), torch.zeros(2)) is None
    assert is_mean_over_samples(rmse, [1], torch.zeros(2)) is None


def test_the_class_of_torchmetrics_is_named() -> None:
    found = find_batch_means([r2_score, rmse, mean_absolute_error], *make_numbers())
    assert list(found) == ["r2_score", "rmse"]
    assert "torchmetrics' R2Score" in found["r2_score"]
    assert "MeanSquaredError with squared: false" in found["rmse"]
    assert advise(partial(f1_score, task="binary")) == "torchmetrics' F1Score"
