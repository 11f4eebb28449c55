"""Watchers look at a training from outside, and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from base import features
from base.loop.watcher import Watcher, make_watchers
from base.tools.debug import Debug
from base.tools.display import Display
from base.tools.histograms import Histograms
from tests.helpers import differences, load, make_trainer, small_config

BATCHES, VALID_BATCHES = 9, 3


class Recording(Watcher):
    """Notes every call, with what the trainer shows at that time."""

    sees_all_batches = True

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.calls: list[tuple[Any, ...]] = []

    @classmethod
    def make(cls, trainer: Any) -> Recording:
        return cls(trainer)

    def train_batch(self, batch: Any) -> None:
        progress = self.trainer.progress
        self.calls.append(("train", progress.epoch, progress.batch, len(batch[1])))

    def valid_batch(self, batch: Any) -> None:
        self.calls.append(("valid", len(batch[1])))

    def after_validation(self, epoch: int) -> None:
        self.calls.append(("after validation", epoch, self.trainer.valid_metrics.n_samples))

    def after_training(self) -> None:
        written = (self.trainer.checkpoint_dir / "checkpoint-epoch2.pt").exists()
        self.calls.append(("after training", written))


class Absent(Watcher):
    """No options ask for it."""


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "Recording", Recording, raising=False)
    monkeypatch.setattr(features, "Absent", Absent, raising=False)


@pytest.mark.usefixtures("_registered")
def test_a_registered_watcher_sees_the_run(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    (watcher,) = [found for found in trainer.watchers if isinstance(found, Recording)]
    trainer.train()
    calls = iter(watcher.calls)
    for epoch in (1, 2):
        sizes = [128] * (BATCHES - 1) + [1151 % 128]
        for batch, size in enumerate(sizes, 1):
            assert next(calls) == ("train", epoch, batch, size)
        assert [next(calls) for _ in range(VALID_BATCHES)] == [("valid", n) for n in (128, 128, 31)]
        assert next(calls) == ("after validation", epoch, 287)
    assert list(calls) == [("after training", True)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {Recording}),
        ({"tensorboard": True, "histogram_period": 2}, {Display, Histograms, Recording}),
        ({"debug": {"statistics": True}}, {Debug, Recording}),
    ],
)
@pytest.mark.usefixtures("_registered")
def test_only_the_watchers_that_the_options_ask_for_are_made(
    tmp_path: Path, options: dict[str, Any], expected: set[type]
) -> None:
    watchers = make_watchers(make_trainer(small_config(tmp_path, **options)))
    assert {type(watcher) for watcher in watchers} == expected


@pytest.mark.usefixtures("_registered")
def test_a_watched_training_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for run_id in ("watched", "unwatched"):
        trainer = make_trainer(small_config(tmp_path), run_id)
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
        monkeypatch.delattr(features, "Recording", raising=False)
    assert differences(*states) == []


def test_the_plain_watcher_does_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    before = torch.get_rng_state()
    watcher = Watcher()
    assert watcher.make(trainer) is None
    for result in (
        watcher.train_batch(None),
        watcher.valid_batch(None),
        watcher.after_validation(1),
        watcher.after_training(),
    ):
        assert result is None
    assert torch.equal(torch.get_rng_state(), before)
