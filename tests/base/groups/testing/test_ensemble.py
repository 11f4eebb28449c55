"""The mean of the outputs of several models, and when there is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from base.groups.testing.ensemble import Ensemble
from base.loop import reporter as reporters  # pytest would collect its classes
from base.loop.metrics import MetricSet
from base.loop.rows import Rows
from model.metric import accuracy

CLASSES = torch.tensor([0, 2, 1, 2])
LABELS = torch.tensor([0.0, 1.0, 1.0, 0.0])


def make_result(output: Any, target: Any, criterion: Any, split: str = "test") -> Any:
    """The result of a test with these outputs."""
    rows = Rows()
    rows.add(output, target, len(target))
    subject = reporters.TestSubject(
        nn.Identity(), criterion, [], torch.device("cpu"), Path("x.pt"), 1, "weights", split
    )
    item = reporters.SetResult("", [], {"loss": 0.0}, MetricSet([], rows=rows), len(target))
    return reporters.TestResult(subject, [item])


def combine(*outputs: torch.Tensor, target: torch.Tensor, criterion: Any) -> tuple[Any, Any, str]:
    """The outputs of an ensemble, its numbers, and what it averages."""
    ensemble = Ensemble()
    for number, output in enumerate(outputs):
        ensemble.add(f"run-{number}", make_result(output, target, criterion), {})
    metrics = [accuracy] if criterion is F.cross_entropy else []
    config = SimpleNamespace(build_metrics=lambda: metrics)
    result = ensemble.get_result(config)
    assert result is not None, ensemble.problem
    (item,) = result.sets
    assert item.metrics.rows is not None
    rows = item.metrics.rows.get()
    assert rows is not None
    return rows[0], item.values, ensemble.averaged


def draw(*shape: int, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [4 * torch.randn(*shape, generator=generator) for _ in range(count)]


def test_a_cross_entropy_averages_probabilities() -> None:
    outputs = draw(4, 3)
    found, values, averaged = combine(*outputs, target=CLASSES, criterion=F.cross_entropy)
    mean = torch.stack([output.softmax(1) for output in outputs]).mean(0)
    assert torch.allclose(found.softmax(1), mean, atol=1e-6)
    assert values["loss"] == pytest.approx(F.nll_loss(mean.log(), CLASSES).item(), rel=1e-5)
    assert values["accuracy"] == (mean.argmax(1) == CLASSES).float().mean()
    assert averaged == "the probabilities of the classes"


def test_log_probabilities_stay_those() -> None:
    outputs = [output.log_softmax(1) for output in draw(4, 3)]
    found, *_ = combine(*outputs, target=CLASSES, criterion=nn.NLLLoss())
    assert torch.allclose(found.exp(), torch.stack(outputs).exp().mean(0), atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2)])
def test_a_binary_cross_entropy_averages_the_sigmoids(shape: tuple[int, ...]) -> None:
    target = LABELS.reshape(4, 1).expand(4, shape[1]) if len(shape) == 2 else LABELS
    outputs = draw(*shape)
    found, values, averaged = combine(*outputs, target=target, criterion=nn.BCEWithLogitsLoss())
    mean = torch.stack(outputs).sigmoid().mean(0)
    assert torch.allclose(found.sigmoid(), mean, atol=1e-6)
    assert values["loss"] == pytest.approx(F.binary_cross_entropy(mean, target).item(), rel=1e-5)
    assert averaged == "the probabilities"


def test_confident_models_do_not_make_infinite_outputs() -> None:
    output = torch.tensor([[0.0, -500.0], [800.0, 0.0]])
    target = torch.tensor([1, 0])
    found, values, _ = combine(output, output, target=target, criterion=F.cross_entropy)
    assert found.isfinite().all()
    assert values["loss"] == pytest.approx(250)


@pytest.mark.parametrize(
    ("criterion", "change"), [(nn.MSELoss(), torch.clone), (nn.BCELoss(), torch.sigmoid)]
)
def test_numbers_and_probabilities_are_averaged_as_they_are(criterion: Any, change: Any) -> None:
    outputs = [change(output) for output in draw(4)]
    found, _, averaged = combine(*outputs, target=LABELS, criterion=criterion)
    assert torch.allclose(found, torch.stack(outputs).mean(0))
    assert averaged == "the outputs"


class Learned(nn.Module):
    """A loss with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.scale * F.cross_entropy(output, target)


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({}, ""),
        ({"target": CLASSES.flip(0)}, "b was tested on other data than the runs before"),
        ({"split": "fold 2 of 5"}, "b was tested on other data than the runs before"),
        ({"output": torch.ones(4, 4)}, "b has outputs of another shape than the runs before"),
        ({"output": torch.ones(4, 3, 2)}, "the outputs are not one row of numbers for each"),
        ({"criterion": Learned()}, "the loss has parameters, which differ from run to run"),
        ({"config": {"metrics": ["f1"]}}, "b differs from the runs before in metrics"),
    ],
)
def test_runs_that_cannot_be_averaged_are_explained(second: dict[str, Any], problem: str) -> None:
    usual: dict[str, Any] = {
        "output": torch.ones(4, 3), "target": CLASSES, "criterion": F.cross_entropy
    }  # fmt: skip
    ensemble = Ensemble()
    ensemble.add("a", make_result(**usual), {})
    config = second.pop("config", {})
    ensemble.add("b", make_result(**(usual | second)), config)
    ensemble.add("c", make_result(**usual), {})
    assert ensemble.problem.startswith(problem)
    assert bool(ensemble.problem) == bool(problem)


def test_one_run_makes_no_ensemble() -> None:
    ensemble = Ensemble()
    ensemble.add("a", make_result(torch.ones(4, 3), CLASSES, F.cross_entropy), {})
    assert ensemble.get_result(None) is None
    assert ensemble.problem == "there is only one run"
