"""``trainer.histogram_period``: histograms of weights and gradients, read back from TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import make_trainer, small_config


def train(tmp_path: Path, **options: Any) -> tuple[Any, EventAccumulator]:
    """A trainer after its training, and what it wrote."""
    trainer = make_trainer(small_config(tmp_path, tensorboard=True, **options))
    trainer.train()
    events = EventAccumulator(str(trainer.config.log_dir), size_guidance={"histograms": 0})
    events.Reload()
    return trainer, events


def test_all_parameters_and_their_gradients_are_written_once_a_period(tmp_path: Path) -> None:
    trainer, events = train(tmp_path, epochs=5, histogram_period=2)
    names = [name for name, _ in trainer.model.named_parameters()]
    tags = events.Tags()["histograms"]
    expected = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    assert set(tags) == expected
    steps = trainer.progress.step // 5
    for tag in tags:
        found = [event.step for event in events.Histograms(tag)]
        assert found == [steps, 3 * steps], tag  # of epochs 2 and 4, before their first steps


def test_the_gradients_are_those_that_the_optimizer_gets(tmp_path: Path) -> None:
    options = {"accumulation_steps": 3, "grad_clip_norm": 0.01, "precision": "fp16"}
    _, events = train(tmp_path, epochs=1, histogram_period=1, **options)
    tags = [tag for tag in events.Tags()["histograms"] if tag.startswith("gradients/")]
    squares = [events.Histograms(tag)[0].histogram_value.sum_squares for tag in tags]
    assert sum(squares) ** 0.5 == pytest.approx(0.01, rel=1e-3)


def test_there_are_none_without_the_option(tmp_path: Path) -> None:
    _, events = train(tmp_path, epochs=1)
    assert events.Tags()["histograms"] == []
