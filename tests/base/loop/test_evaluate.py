"""One pass over a split without training."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from base.loop.evaluate import Weigher, evaluate, forward
from base.loop.metrics import MetricSet
from base.loop.validation import iterate_in_lockstep
from tests.ranks import in_ranks
from utils.distributed import rank
from utils.errors import UserError

CPU = torch.device("cpu")


def mean_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().mean()


class Doubler(nn.Module):
    """Twice its input; NaN in training mode, or while gradients are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor, shift: torch.Tensor | float = 0.0) -> torch.Tensor:
        if self.training or torch.is_grad_enabled():
            return x * torch.nan
        return x * self.factor + shift


def run(batches: Any, metrics: Any = (mean_error,), **kwargs: Any) -> dict[str, float]:
    return evaluate(Doubler(), batches, F.mse_loss, MetricSet(metrics), CPU, **kwargs)


def test_loss_and_metrics_are_weighted_by_samples() -> None:
    batches = [(torch.ones(3), torch.full((3,), 2.0)), (torch.ones(1), torch.tensor([6.0]))]
    assert run(batches) == {"loss": pytest.approx(16 / 4), "mean_error": pytest.approx(4 / 4)}


def put_time_first(samples: list[int]) -> torch.Tensor:
    return torch.tensor([samples] * (2 if samples[0] == 0 else 3))


@pytest.mark.parametrize("start", [0, 1])
def test_a_loader_of_torch_knows_its_samples(start: int) -> None:
    """Sequences have their samples in the second dimension (as in Lightning #10349)."""
    loader = DataLoader(range(10), 4, collate_fn=put_time_first)  # type: ignore[arg-type]
    metrics = MetricSet([], loader=loader)
    weigher = Weigher(loader, F.mse_loss, metrics, start)
    sizes = []
    for batch in itertools.islice(loader, start, None):
        weigher.weigh(batch)
        sizes.append(metrics.count_samples(batch, batch, (batch, batch)))
    assert sizes == [4, 4, 2][start:]


def test_the_model_is_left_in_evaluation_mode_with_its_weights_and_without_gradients() -> None:
    model = Doubler()
    model.train()
    evaluate(model, [(torch.ones(2), torch.ones(2))], F.mse_loss, MetricSet([]), CPU)
    assert not model.training
    assert model.factor.item() == 2.0
    assert model.factor.grad is None


def test_an_earlier_pass_leaves_no_trace() -> None:
    metrics = MetricSet([mean_error])
    for error in (5.0, 1.0):
        batches = [(torch.zeros(2), torch.full((2,), error))]
        result = evaluate(Doubler(), batches, F.mse_loss, metrics, CPU)
    assert result == {"loss": 1.0, "mean_error": 1.0}


@pytest.mark.parametrize(
    "batch",
    [
        (torch.ones(2), torch.full((2,), 2.0)),
        [torch.ones(2), torch.full((2,), 2.0)],
        (torch.ones(2), torch.ones(2), torch.full((2,), 3.0)),
        {"x": torch.ones(2), "target": torch.full((2,), 2.0)},
        {"x": torch.ones(2), "shift": torch.ones(2), "labels": torch.full((2,), 3.0)},
    ],
    ids=["pair", "list", "two inputs", "dict", "dict with two inputs"],
)
def test_batches_of_all_forms_reach_the_model(batch: Any) -> None:
    assert run([batch])["loss"] == 0.0


class Adds(nn.Module):
    def forward(self, a: int, b: int = 10) -> int:
        return a + b


@pytest.mark.parametrize(
    ("batch", "output"),
    [
        ((1, 0), 11),
        ((1, 2, 0), 3),
        (([1, 2], 0), 3),
        ({"a": 1, "b": 2, "target": 0}, 3),
        ({"target": 0, "b": 5, "a": 1}, 6),
    ],
)
def test_inputs_are_positional_or_keyword_arguments(batch: Any, output: int) -> None:
    assert forward(Adds(), batch) == (output, 0)


def test_the_target_goes_to_the_device_of_the_output() -> None:
    class Spread(nn.Module):
        """Its output is on another device than its input."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.to("meta")

    output, target = forward(Spread(), (torch.ones(2), torch.ones(2)))
    assert output.device == target.device == torch.device("meta")


@pytest.mark.parametrize("batches", [[], iter([])])
def test_nothing_to_evaluate_is_an_error(batches: Any) -> None:
    message = "there was nothing to evaluate: the data loader gave no batch"
    with pytest.raises(UserError, match=message):
        run(batches)


def test_the_forward_of_a_project_is_used() -> None:
    def forward_plus_one(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        output, target = forward(model, batch)
        return output + 1, target

    batch = (torch.ones(2), torch.full((2,), 3.0))
    assert run([batch], forward=forward_plus_one)["loss"] == 0.0


def test_model_and_loss_run_in_the_precision_of_training() -> None:
    class Multiply(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.ones(2, 2)

    def is_autocast(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.tensor(float(torch.is_autocast_enabled("cpu")))

    def is_rounded(output: torch.Tensor, target: torch.Tensor) -> bool:
        return bool(output[0, 0] != 2 * odd)

    odd = 1.001  # bf16 rounds it
    found = []
    for autocast in (contextlib.nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        metrics, batches = MetricSet([is_rounded]), [(torch.full((2, 2), odd), torch.ones(2))] * 3
        values = evaluate(Multiply(), batches, is_autocast, metrics, CPU, autocast=autocast)
        found.append(list(values.values()))
    assert found == [[0.0, 0.0], [1.0, 1.0]]


# -- what does not count --------------------------------------------------------------------------


def ignoring(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output, target)


@pytest.mark.parametrize(
    ("criterion", "ignored"),
    [
        (F.cross_entropy, -100),
        (ignoring, -100),
        (nn.CrossEntropyLoss(ignore_index=3), 3),
        (functools.partial(F.cross_entropy, ignore_index=255), 255),
    ],
    ids=["function", "own function", "module", "arguments"],
)
def test_batches_without_samples_or_with_ignored_targets_only_do_not_count(
    criterion: Any, ignored: int
) -> None:
    counted = (torch.eye(2), torch.tensor([0, 1]))
    batches = [
        counted,
        (torch.eye(2)[:0], torch.ones(0, dtype=torch.int64)),
        (torch.eye(2), torch.full((2,), ignored)),
        None,
    ]
    metrics = MetricSet([])
    found = evaluate(nn.Identity(), batches, criterion, metrics, CPU)
    assert found == {"loss": pytest.approx(float(criterion(*counted)))}
    assert metrics.n_samples == 2
    assert evaluate(nn.Identity(), batches[1:], criterion, metrics, CPU) == {}


def test_a_loss_that_ignores_nothing_counts_every_target() -> None:
    batch = (torch.zeros(2), torch.full((2,), -100))
    assert evaluate(nn.Identity(), [batch], F.mse_loss, MetricSet([]), CPU) == {"loss": 10_000.0}


# -- several ranks --------------------------------------------------------------------------------


def evaluate_in_rank() -> tuple[Any, ...]:
    """The second of two ranks has no batch; then neither has one."""
    batches = [(torch.ones(2), torch.full((2,), 3.0))] if rank() == 0 else []
    found = run(batches)
    with pytest.raises(UserError, match="nothing to evaluate"):
        run([])
    return found


def test_a_rank_without_a_batch_gets_the_numbers_of_all_ranks() -> None:
    assert in_ranks(2, evaluate_in_rank) == [{"loss": 1.0, "mean_error": 1.0}] * 2


def test_a_rank_takes_part_in_batches_that_only_another_one_has() -> None:
    class Loader:
        """Tells the length of the longest rank."""

        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

    assert list(iterate_in_lockstep(Loader())) == [1, 2, None]
    assert list(iterate_in_lockstep(iter([1, 2]))) == [1, 2]
