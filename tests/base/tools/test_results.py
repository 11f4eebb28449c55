"""What outputs mean: kinds of tasks, scores of classes, calibration, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from base.loop.task import LEARNED, describe_loss
from base.tools.results import Results, kind_of
from tests.base.tools.scores import make_scores

CLASSES = torch.tensor([0, 1, 2, 2])
ONE_HOT = torch.eye(3)[CLASSES]
BINARY = torch.tensor([0.0, 1, 1, 0])
NUMBERS = torch.tensor([0.5, 1, 1, 0])


@pytest.mark.parametrize(
    ("loss", "output", "target", "kind"),
    [
        ("cross_entropy", (4, 3), CLASSES, "classification"),
        ("CrossEntropyLoss", (4, 3), CLASSES[:, None], "classification"),
        ("cross_entropy", (4, 3), ONE_HOT, "classification"),
        ("nll_loss", (4, 3), CLASSES + 1, ""),
        ("BCEWithLogitsLoss", (4, 3), ONE_HOT, "multilabel"),
        ("binary_cross_entropy", (4, 1), BINARY[:, None], "classification"),
        ("BCELoss", (4,), 0.9 * BINARY, "classification"),
        ("mse_loss", (4,), BINARY, "regression"),
        ("L1Loss", (4, 3), ONE_HOT, "regression"),
        ("own", (4, 3), CLASSES, "classification"),
        ("own", (4, 3), ONE_HOT, ""),
        ("own", (4, 3), ONE_HOT.mul(0.7).add(0.1), ""),  # classes, or parts of a whole
        ("kl_div", (4, 3), ONE_HOT.mul(0.7).add(0.1), ""),
        ("own", (4, 3), 2 * ONE_HOT, "regression"),
        ("own", (4,), BINARY, ""),
        ("own", (4,), NUMBERS, "regression"),
        ("own", (4, 2), NUMBERS, ""),
    ],
)
def test_the_loss_tells_the_kind_of_task(
    loss: str, output: tuple[int, ...], target: torch.Tensor, kind: str
) -> None:
    assert kind_of(torch.zeros(output), target, loss) == kind


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_the_config_tells_the_task_of_an_unknown_loss(task: str) -> None:
    assert Results(ONE_HOT, ONE_HOT, None, "own", task).kind == task


def test_one_hot_targets_of_cross_entropy_are_classes() -> None:
    """ClassyVision #349."""
    results = Results(ONE_HOT, 0.9 * ONE_HOT, ["a", "b", "c"], "cross_entropy")
    assert results.target.tolist() == CLASSES.tolist()
    assert [row["recall"] for row in results.score_classes()] == [1.0, 1.0, 1.0]


def test_the_scores_of_classes_are_scikit_learns() -> None:
    output, target = make_scores()
    found = Results(output, target, ["a", "b", "c"]).score_classes()
    expected = precision_recall_fscore_support(target, output.argmax(1))
    for column, key in enumerate(("precision", "recall", "f1", "support")):
        assert [row[key] for row in found] == pytest.approx(list(expected[column]))


def test_the_confusion_matrix_is_scikit_learns() -> None:
    output, target = make_scores()
    target[target == 2] = 0  # a class without samples has its row
    counts = Results(output, target, None).confusion
    assert counts is not None
    assert np.array_equal(counts, confusion_matrix(target, output.argmax(1), labels=range(3)))


def test_errors_are_sorted_by_confidence() -> None:
    output = torch.tensor([[0.0, 5], [5, 0], [0, 1], [2, 0]])
    results = Results(output, torch.tensor([0, 0, 0, 0]), None)
    assert results.most_confident_errors(5) == [0, 2]
    assert results.most_confident_errors(1) == [0]
    assert results.least_confident_correct(5) == [3, 1]


def test_a_confident_model_that_is_always_wrong_has_a_calibration_error_of_one() -> None:
    results = Results(torch.tensor([[50.0, 0]] * 4), torch.tensor([1, 1, 1, 1]), None)
    points, error = results.calibrate()
    assert error == pytest.approx(1.0)
    assert points == [(pytest.approx(1.0), 0.0)]


def test_the_calibration_error_weighs_bins_by_their_samples() -> None:
    """The formula of Guo et al. by hand."""
    output, target = make_scores(1000)
    confidence, prediction = output.softmax(1).max(1)
    correct = (prediction == target).numpy()
    bins = np.ceil(confidence.double().numpy() * 10).astype(int)
    expected = 0.0
    for index in np.unique(bins):
        inside = bins == index
        gap = abs(correct[inside].mean() - confidence.numpy()[inside].mean())
        expected += inside.mean() * gap
    points, error = Results(output, target, None).calibrate()
    assert error == pytest.approx(expected)
    assert len(points) == len(np.unique(bins))


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0])
def test_probabilities_at_the_edges_of_bins_are_counted_once(value: float) -> None:
    output, target = torch.full((8,), value), torch.tensor([0.0, 1] * 4)
    points, error = Results(output, target, None, "BCELoss").calibrate()
    assert points == [(max(value, 1 - value), 0.5)]
    assert error == pytest.approx(max(value, 1 - value) - 0.5)


def test_a_regression_has_no_calibration() -> None:
    points, error = Results(torch.rand(4), torch.rand(4) + 0.5, None).calibrate()
    assert points == []
    assert np.isnan(error)


def test_a_loss_with_parameters_does_not_tell_the_kind_of_task() -> None:
    class Centres(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres = torch.nn.Parameter(torch.ones(2, 4))

    target = torch.tensor([0, 1])
    assert describe_loss(torch.nn.CrossEntropyLoss()) == "CrossEntropyLoss"
    assert describe_loss(Centres()) == LEARNED
    assert kind_of(torch.zeros(2, 4), target, LEARNED) == ""
    assert kind_of(torch.zeros(2, 4), target, LEARNED, "classification") == "classification"
