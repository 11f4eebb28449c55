"""``trainer.histogram_period``: the histograms show the weights and gradients that a step uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import differences, load, make_trainer, small_config

NAME = "classifier.2.weight"


class Recorder:
    """A writer that keeps the histograms."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.histograms: list[tuple[str, torch.Tensor]] = []

    def add_histogram(self, tag: str, values: torch.Tensor) -> None:
        self.histograms.append((tag, values.detach().clone()))

    def add_scalar(self, *_: Any) -> None:
        pass

    def set_step(self, *_: Any) -> None:
        pass


def train(
    tmp_path: Path, enabled: bool = True, **options: Any
) -> tuple[list[tuple[str, torch.Tensor]], list[tuple[torch.Tensor, torch.Tensor]], Any]:
    """The histograms of a run, and the weight and gradient that each step of its optimizer had."""
    trainer = make_trainer(small_config(tmp_path, **options))
    trainer.writer = Recorder(enabled)
    steps: list[tuple[torch.Tensor, torch.Tensor]] = []
    weight = trainer.model.get_parameter(NAME)
    trainer.optimizer.register_step_pre_hook(
        lambda *_: steps.append((weight.detach().clone(), weight.grad.clone()))
    )
    trainer.train()
    return trainer.writer.histograms, steps, trainer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulation_steps": 4, "grad_clip_norm": 0.1},
        {"precision": "fp16"},
        {"precision": "fp16", "accumulation_steps": 4, "grad_clip_norm": 0.1},
    ],
)
def test_the_gradients_are_those_that_the_optimizer_gets(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    histograms, steps, trainer = train(tmp_path, epochs=2, histogram_period=2, **options)
    first_of_epoch_2 = steps[len(steps) // 2]
    for kind, value in zip(("weights", "gradients"), first_of_epoch_2, strict=True):
        (found,) = [values for tag, values in histograms if tag == f"{kind}/{NAME}"]
        assert torch.equal(found, value)
    (_, gradient) = first_of_epoch_2
    assert 1e-6 < gradient.norm() <= (0.1 if "grad_clip_norm" in options else 10)  # unscaled
    names = [name for name, _ in trainer.model.named_parameters()]
    tags = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    assert {tag for tag, _ in histograms} == tags


@pytest.mark.parametrize(("period", "times"), [(1, 5), (2, 2), (3, 1), (9, 0)])
def test_histograms_are_written_once_in_every_period_of_epochs(
    tmp_path: Path, period: int, times: int
) -> None:
    histograms, _, _ = train(tmp_path, epochs=5, histogram_period=period)
    assert len([tag for tag, _ in histograms if tag == f"weights/{NAME}"]) == times


def test_a_frozen_weight_has_no_histogram_of_gradients(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1, histogram_period=1)
    config["transfer"] = {"freeze": "all_but_head"}
    trainer = make_trainer(config)
    trainer.writer = Recorder()
    trainer.train()
    tags = [tag for tag, _ in trainer.writer.histograms]
    assert [tag for tag in tags if tag.startswith("gradients/")] == [
        f"gradients/{NAME}",
        "gradients/classifier.2.bias",
    ]
    assert len([tag for tag in tags if tag.startswith("weights/")]) > 2


def test_nothing_is_computed_where_nobody_looks(tmp_path: Path) -> None:
    histograms, _, _ = train(tmp_path, enabled=False, histogram_period=1)
    assert histograms == []


def test_histograms_change_no_bit(tmp_path: Path) -> None:
    states = []
    for period in (1, None):
        _, _, trainer = train(tmp_path / str(period), histogram_period=period)
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
        del states[-1]["config"]
    assert differences(*states) == []
