"""One pass over a split without training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from base.loop.evaluate import evaluate, forward
from base.loop.metrics import MetricSet
from utils.errors import UserError

CPU = torch.device("cpu")


def mean_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().mean()


class Doubler(nn.Module):
    """Twice its input; in training mode, or with a gradient wanted, something else."""

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
def test_batches_of_all_shapes_reach_the_model(batch: Any) -> None:
    assert run([batch])["loss"] == 0.0


@pytest.mark.parametrize("batches", [[], iter([])])
def test_nothing_to_evaluate_is_told(batches: Any) -> None:
    with pytest.raises(UserError, match="there was nothing to evaluate: the loader gave no batch"):
        run(batches)


def test_a_forward_of_the_projects_own_is_used() -> None:
    def own(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        output, target = forward(model, batch)
        return output + 1, target

    assert run([(torch.ones(2), torch.full((2,), 3.0))], forward=own)["loss"] == 0.0


def test_the_precision_of_training_is_used() -> None:
    entered = []

    @contextlib.contextmanager
    def autocast() -> Iterator[None]:
        entered.append(True)
        yield

    run([(torch.ones(2), torch.ones(2))] * 3, autocast=autocast)
    assert len(entered) == 3
