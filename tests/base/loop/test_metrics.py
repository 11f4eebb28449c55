"""The numbers of a pass over a split: each weighted by samples."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from base.loop.metrics import MetricSet, is_stateful, name_of
from utils.errors import UserError


def share(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output.argmax(1) == target).float().mean()


def right(n: int, of: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (of, 2) for classes (of,), the first ``n`` of them right."""
    target = torch.zeros(of, dtype=torch.int64)
    return torch.stack(
        [torch.tensor([1.0, 0.0]) if i < n else torch.tensor([0.0, 1.0]) for i in range(of)]
    ), target


def measured(metrics: list[Any], *batches: tuple[int, int], loss: float = 0.0) -> dict[str, float]:
    found = MetricSet(metrics)
    for n, of in batches:
        found.measure(torch.tensor(loss), *right(n, of), of)
    return found.result()


def accuracy() -> torchmetrics.Metric:
    return torchmetrics.Accuracy(task="multiclass", num_classes=2)


def test_a_short_last_batch_counts_by_its_samples() -> None:
    found = MetricSet([share])
    found.measure(torch.tensor(1.0), *right(8, 8), 8)
    found.measure(torch.tensor(6.0), *right(0, 2), 2)
    assert found.result() == {"loss": pytest.approx(2.0), "share": pytest.approx(0.8)}
    assert found.n_samples == 10


def test_a_torchmetrics_object_sees_the_whole_epoch() -> None:
    auroc = torchmetrics.AUROC(task="binary")
    found = MetricSet([auroc])
    for scores, target in (
        ([0.1, 0.4], [0, 0]),
        ([0.35, 0.8], [1, 1]),
    ):  # one class a batch: no AUROC of its own
        found.measure(torch.tensor(0.0), torch.tensor(scores), torch.tensor(target), 2)
    assert found.result()["BinaryAUROC"] == pytest.approx(0.75)


def test_every_set_has_torchmetrics_objects_of_its_own() -> None:
    metric = accuracy()
    train, valid = MetricSet([metric]), MetricSet([metric])
    train.measure(torch.tensor(0.0), *right(4, 4), 4)
    valid.measure(torch.tensor(0.0), *right(1, 4), 4)
    assert train.result()["MulticlassAccuracy"] == 1.0
    assert valid.result()["MulticlassAccuracy"] == 0.25
    assert not metric.update_called


def test_reset_forgets_functions_and_objects() -> None:
    found = MetricSet([share, accuracy()])
    found.measure(torch.tensor(5.0), *right(4, 4), 4)
    found.reset()
    found.measure(torch.tensor(1.0), *right(0, 2), 2)
    assert found.result() == {"loss": 1.0, "share": 0.0, "MulticlassAccuracy": 0.0}


def test_the_result_begins_with_the_loss_and_keeps_the_order_of_the_metrics() -> None:
    assert list(measured([accuracy(), share], (1, 2))) == ["loss", "MulticlassAccuracy", "share"]


def test_the_result_is_of_plain_floats() -> None:
    found = measured([share, accuracy(), lambda output, target: np.float64(1)], (1, 2))
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.array(2), np.array([2]), torch.tensor(2), torch.tensor([2.0])],
)
def test_a_metric_may_give_a_number_of_any_kind(value: Any) -> None:
    def metric(output: Any, target: Any) -> Any:
        return value

    assert measured([metric], (1, 3), (1, 1))["metric"] == 2.0


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(3),
        torch.ones(0),
        np.ones(3),
        np.ones((2, 2)),
        [1.0, 2.0],
        (1.0, 2.0),
        None,
        {"a": 1.0},
        "1",
    ],
    ids=repr,
)
def test_a_metric_that_gives_anything_else_is_refused_in_one_line(value: Any) -> None:
    def vector(output: Any, target: Any) -> Any:
        return value

    with pytest.raises(UserError, match="the metric 'vector' must give one number") as caught:
        measured([vector], (1, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "metric",
    [
        torchmetrics.ConfusionMatrix(task="multiclass", num_classes=2),
        torchmetrics.Accuracy(task="multiclass", num_classes=2, average="none"),
        torchmetrics.ROC(task="multiclass", num_classes=2),
    ],
    ids=["matrix", "vector", "curves"],
)
def test_a_torchmetrics_object_that_gives_more_than_a_number_is_refused(metric: Any) -> None:
    with pytest.raises(
        UserError, match=f"the metric '{type(metric).__name__}' must give one number"
    ):
        measured([metric], (1, 3))


def test_without_a_batch_functions_give_zero_and_objects_nan() -> None:
    found = MetricSet([share, accuracy()]).result()
    assert (found["loss"], found["share"]) == (0.0, 0.0)
    assert np.isnan(found["MulticlassAccuracy"])


def test_nothing_keeps_the_graph_of_the_forward_pass() -> None:
    seen: list[bool] = []

    def metric(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(output.requires_grad)
        return output.mean()

    model = nn.Linear(2, 2)
    output = model(torch.ones(3, 2))
    found = MetricSet([metric])
    found.measure(output.sum(), output, torch.zeros(3), 3)
    found.settle()
    assert seen == [False]
    assert not found._pending["loss"][0][0].requires_grad


def test_half_precision_values_are_added_up_in_full_precision() -> None:
    found = MetricSet([lambda output, target: torch.tensor(1.0, dtype=torch.bfloat16)])
    for _ in range(1000):
        found.measure(torch.tensor(1.0, dtype=torch.bfloat16), None, None, 64)
    assert list(found.result().values()) == [1.0, 1.0]


def test_names() -> None:
    fixed = functools.partial(share)
    fixed.__name__ = "fixed"  # type: ignore[attr-defined]
    named = accuracy()
    named.__name__ = "top"
    assert [name_of(metric) for metric in (share, fixed, named, accuracy())] == [
        "share",
        "fixed",
        "top",
        "MulticlassAccuracy",
    ]
    assert MetricSet([named])._objects.keys() == {"top"}  # a copy keeps the name


def test_a_loss_module_is_no_torchmetrics_object() -> None:
    assert is_stateful(accuracy())
    assert not is_stateful(nn.MSELoss())
    assert not is_stateful(share)


def test_a_bar_shows_the_loss_and_the_first_function() -> None:
    def half(output: Any, target: Any) -> float:
        return 0.5

    def other(output: Any, target: Any) -> float:
        return 0.25

    metrics = MetricSet([half, other])
    metrics.measure(torch.tensor(2.0), torch.zeros(4), torch.zeros(4), 4)
    assert metrics.brief() == "loss 2.0000  half 0.5000"
