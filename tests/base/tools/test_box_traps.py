"""The warning of boxes and labels that a detector accepts, but does not learn from."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from base.parallel.strategy import NoParallel
from base.tools.box_traps import BoxTraps
from model.detector import SmallFCOS


def make_watcher(model: nn.Module) -> BoxTraps | None:
    trainer: Any = SimpleNamespace(
        model=model, parallel=NoParallel(), logger=logging.getLogger("trainer")
    )
    return BoxTraps.make(trainer)


def test_a_trap_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    watcher = make_watcher(SmallFCOS(num_classes=3, width=32, image_size=32))
    assert watcher is not None
    target = {"boxes": torch.tensor([[0.1, 0.2, 0.5, 0.6]]), "labels": torch.tensor([1])}
    images = [torch.rand(3, 32, 32)]
    watcher.train_batch((images, [target]))
    watcher.train_batch({"images": images, "targets": [target]})
    (message,) = caplog.messages
    assert message.startswith("data_loader: all boxes of a batch lie between 0 and 1; give pixels")


def test_only_detectors_are_watched() -> None:
    assert make_watcher(nn.Linear(2, 2)) is None
