"""The numbers of a pass over a split, weighted by samples."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
import torchmetrics.wrappers
from torch import nn

from base.loop.metrics import MetricSet, name_of
from base.loop.stateful_metric import is_stateful
from utils.errors import UserError

ZERO = torch.tensor(0.0)


def fraction_right(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output.argmax(1) == target).float().mean()


def make_batch(n_right: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (size, 2) for classes (size,), the first ``n_right`` of them right."""
    rows = [[1.0, 0.0] if i < n_right else [0.0, 1.0] for i in range(size)]
    return torch.tensor(rows), torch.zeros(size, dtype=torch.int64)


def measure(metrics: list[Any], *batches: tuple[int, int]) -> dict[str, float]:
    found = MetricSet(metrics)
    for n_right, size in batches:
        found.add_batch(ZERO, *make_batch(n_right, size))
    return found.result()


def accuracy() -> torchmetrics.Metric:
    return torchmetrics.Accuracy(task="multiclass", num_classes=2)


# -- means over samples ---------------------------------------------------------------------------


def test_a_short_last_batch_counts_by_its_samples() -> None:
    found = MetricSet([fraction_right])
    found.add_batch(torch.tensor(1.0), *make_batch(8, 8))
    found.add_batch(torch.tensor(6.0), *make_batch(0, 2))
    assert found.result() == {"loss": pytest.approx(2.0), "fraction_right": pytest.approx(0.8)}
    assert found.n_samples == 10


def test_the_batch_counts_the_samples_that_target_and_output_do_not_tell() -> None:
    found = MetricSet([])
    found.add_batch(torch.tensor(1.0), None, None, {"images": torch.zeros(3, 2)})
    found.add_batch(torch.tensor(5.0), None, None, [torch.zeros(1, 2)])
    assert (found.result()["loss"], found.n_samples) == (2.0, 4)


def test_a_batch_of_weight_zero_is_not_measured() -> None:
    found = MetricSet([fraction_right, accuracy()])
    found.add_batch(torch.tensor(1.0), *make_batch(2, 2))
    found.add_batch(torch.tensor(9.0), *make_batch(0, 2), weight=0.0)
    assert found.result() == {"loss": 1.0, "fraction_right": 1.0, "MulticlassAccuracy": 1.0}
    assert found.n_samples == 2


@pytest.mark.parametrize("size", [2, 20_000])  # small batches are measured several at once
def test_numbers_can_be_read_after_any_batch(size: int) -> None:
    found = MetricSet([lambda output, target: output.mean()])
    for count in range(1, 20):
        output = torch.full((size,), 2.0 * count)
        found.add_batch(torch.tensor(float(count)), output, torch.zeros(size))
        assert (found.avg("loss"), found.n_samples) == ((count + 1) / 2, count * size)
    assert list(found.result().values()) == [10.0, 20.0]


def test_half_precision_values_are_added_up_in_full_precision() -> None:
    one = torch.tensor(1.0, dtype=torch.bfloat16)
    found = MetricSet([lambda output, target: one])
    for _ in range(1000):
        found.add_batch(one, None, torch.zeros(64))
    assert list(found.result().values()) == [1.0, 1.0]


def test_reset_forgets_functions_and_objects() -> None:
    found = MetricSet([fraction_right, accuracy()])
    found.add_batch(torch.tensor(5.0), *make_batch(4, 4))
    found.reset()
    found.add_batch(torch.tensor(1.0), *make_batch(0, 2))
    assert found.result() == {"loss": 1.0, "fraction_right": 0.0, "MulticlassAccuracy": 0.0}


def test_a_state_in_the_middle_of_an_epoch_continues_it() -> None:
    metrics = [fraction_right, accuracy()]
    full, first, rest = (MetricSet(metrics) for _ in range(3))
    batches = [(3, 4), (0, 2), (1, 5)]
    for count, batch in enumerate(batches):
        full.add_batch(torch.tensor(float(count)), *make_batch(*batch))
        if count == 0:
            first.add_batch(torch.tensor(0.0), *make_batch(*batch))
            rest.load_state_dict(first.state_dict())
        else:
            rest.add_batch(torch.tensor(float(count)), *make_batch(*batch))
    assert rest.result() == full.result()


def test_the_graph_of_the_forward_pass_is_freed() -> None:
    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor
            saved.append(weakref.ref(self))

    def without_graph(output: torch.Tensor, target: torch.Tensor) -> float:
        return float(not output.requires_grad)

    saved: list[weakref.ref[Saved]] = []
    found = MetricSet([without_graph])
    model = nn.Linear(2, 2)
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda value: value.tensor):
        output = model(torch.ones(3, 2))
        loss = output.square().sum()
    assert any(reference() is not None for reference in saved)
    found.add_batch(loss, output, torch.zeros(3))
    del output, loss
    assert all(reference() is None for reference in saved)
    assert found.result()["without_graph"] == 1.0


# -- torchmetrics ---------------------------------------------------------------------------------


def test_every_set_has_copies_of_torchmetrics_objects() -> None:
    metric = accuracy()
    train, valid = MetricSet([metric]), MetricSet([metric])
    train.add_batch(ZERO, *make_batch(4, 4))
    valid.add_batch(ZERO, *make_batch(1, 4))
    assert train.result()["MulticlassAccuracy"] == 1.0
    assert valid.result()["MulticlassAccuracy"] == 0.25
    assert not metric.update_called


def test_a_loss_module_is_no_torchmetrics_object() -> None:
    assert is_stateful(accuracy())
    assert not is_stateful(nn.MSELoss())
    assert not is_stateful(fraction_right)


def test_where_nothing_counted_there_is_no_mean() -> None:
    found = MetricSet([fraction_right, accuracy()])
    assert found.result() == {}
    found.add_batch(torch.tensor(float("nan")), *make_batch(0, 0))
    assert found.result() == {}
    found.add_batch(torch.tensor(1.0), *make_batch(1, 2))
    assert found.result() == {"loss": 1.0, "fraction_right": 0.5, "MulticlassAccuracy": 0.5}


def test_a_batch_counts_as_many_samples_as_the_loader_has_read() -> None:
    """CTC's target is ``(characters, lengths)`` (Lightning #10349)."""
    found = MetricSet([])
    for n_samples, n_characters in ((8, 8), (4, 14)):
        lengths = torch.ones(n_samples, dtype=torch.int64)
        target = torch.ones(n_characters), lengths
        found.batch_size = n_samples
        batch = torch.ones(n_samples, 12, 5), target
        found.add_batch(torch.tensor(float(n_samples)), torch.ones(12, n_samples, 4), target, batch)
    assert (found.n_samples, found.result()["loss"]) == (12, pytest.approx(80 / 12))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_metrics_get_outputs_in_fp32(dtype: torch.dtype) -> None:
    """NumPy has no bf16."""

    def mean(output: Any, target: Any) -> Any:
        return np.mean(output["logits"].numpy())

    found = MetricSet([mean])
    output = {"logits": torch.ones(2, dtype=dtype, requires_grad=True)}
    found.add_batch(torch.tensor(1.0), output, torch.ones(2))
    assert found.result()["mean"] == 1.0


def test_a_list_of_metrics_of_several_passes_is_refused_in_one_line() -> None:
    metric = torchmetrics.wrappers.MetricTracker(torchmetrics.MeanSquaredError())
    with pytest.raises(UserError, match="does not give one number; list the metrics"):
        MetricSet([metric])


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_torchmetrics_get_targets_in_the_shape_that_they_want(shape: tuple[int, ...]) -> None:
    classes = torch.tensor([0, 1, 0, 1, 1, 1])
    output = torch.eye(2)[classes] + 0.1
    soft = torch.eye(2)[classes]
    for target in (classes.reshape(shape), soft):
        found = MetricSet([accuracy()])
        found.add_batch(torch.tensor(1.0), output, target)
        assert found.result()["MulticlassAccuracy"] == 1.0
    errors = MetricSet([torchmetrics.MeanSquaredError()])
    errors.add_batch(torch.tensor(1.0), classes.float() + 1, classes.float().reshape(shape))
    assert errors.result()["MeanSquaredError"] == 1.0


def test_a_target_that_torchmetrics_refuses_is_an_error_of_one_line() -> None:
    found = MetricSet([accuracy()])
    found.add_batch(torch.tensor(1.0), torch.ones(4, 2), torch.ones(3, dtype=torch.int64))
    with pytest.raises(UserError, match=r"metrics.0: .*MulticlassAccuracy.*: The size") as caught:
        found.result()
    assert "\n" not in str(caught.value)


# -- names and kinds of values --------------------------------------------------------------------


def test_the_result_begins_with_the_loss_and_keeps_the_order_of_the_metrics() -> None:
    names = list(measure([accuracy(), fraction_right], (1, 2)))
    assert names == ["loss", "MulticlassAccuracy", "fraction_right"]


def test_a_metric_is_logged_under_its_name_or_its_class() -> None:
    fixed = functools.partial(fraction_right)
    fixed.__name__ = "fixed"  # type: ignore[attr-defined]
    named = accuracy()
    named.__name__ = "top"
    names = [name_of(metric) for metric in (fraction_right, fixed, named, accuracy())]
    assert names == ["fraction_right", "fixed", "top", "MulticlassAccuracy"]
    assert list(measure([named], (1, 2))) == ["loss", "top"]  # a copy keeps the name


def test_the_progress_bar_shows_the_loss_and_the_first_function() -> None:
    def half(output: Any, target: Any) -> float:
        return 0.5

    def other(output: Any, target: Any) -> float:
        return 0.25

    found = MetricSet([accuracy(), half, other])
    found.add_batch(torch.tensor(2.0), *make_batch(1, 4))
    assert found.summary() == "loss 2.0000  half 0.5000"


def test_the_result_is_of_plain_floats() -> None:
    found = measure([fraction_right, accuracy(), lambda output, target: np.float64(1)], (1, 2))
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.array(2), np.array([2]), torch.tensor(2), torch.tensor([2.0])],
)
def test_a_metric_may_give_a_number_of_any_kind(value: Any) -> None:
    def metric(output: Any, target: Any) -> Any:
        return value

    assert measure([metric], (1, 3), (1, 1))["metric"] == 2.0


def test_the_error_of_a_metric_names_it_and_its_arguments() -> None:
    def broken(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output + target

    text = r"metrics.0: the metric 'broken' failed on output \(2, 5\) float32 and target \(2,\) int"
    found = MetricSet([broken])
    found.add_batch(ZERO, torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match=text):
        found.result()


def test_samples_are_counted_without_a_loss_too() -> None:
    """As those of a detector, which gives no loss in evaluation."""
    metrics = MetricSet([])
    metrics.add_batch(None, torch.zeros(3, 2), torch.zeros(3))
    metrics.add_batch(None, torch.zeros(2, 2), torch.zeros(2))
    assert metrics.n_samples == 5
