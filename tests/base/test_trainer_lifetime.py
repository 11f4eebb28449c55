"""A trainer that nobody holds any more goes at once, and the workers of its loaders with it.

If a reference cycle kept it until the next garbage collection, the workers would be ended in the
wrong order then: each would hold up the process for 5 seconds, and leave a temporary folder behind.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.data.loader import unwrap_loader
from tests.helpers import make_trainer, small_config

DEBUG = {"statistics": True, "detect_nan": True, "profile": {"wait": 0, "warmup": 1, "active": 1}}


@pytest.fixture(scope="module", autouse=True)
def _no_collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    config = small_config(tmp_path_factory.mktemp("first"), epochs=1, tensorboard=True)
    make_trainer(config).train()  # its imports keep some frames until the next collection
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tensorboard": True, "histogram_period": 1},
        {"len_epoch": 3, "ema_decay": 0.9},
        {"debug": DEBUG},
        {"debug": {"overfit_batches": 1}, "len_epoch": 2},
    ],
    ids=["plain", "tracked", "iterations", "debugged", "overfitting"],
)
def test_nothing_keeps_a_trainer_alive(tmp_path: Path, options: dict[str, Any]) -> None:
    config = small_config(tmp_path, epochs=1, **options)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    trainer = make_trainer(config)
    trainer.train()
    references = [weakref.ref(trainer), weakref.ref(unwrap_loader(trainer.data_loader))]
    del trainer
    assert [reference() for reference in references] == [None, None]


def test_nothing_keeps_a_resumed_trainer_alive(tmp_path: Path) -> None:
    first = make_trainer(small_config(tmp_path, epochs=1))
    first.train()
    config = small_config(tmp_path, epochs=2)
    trainer = make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch1.pt")
    trainer.train()
    references = [weakref.ref(trainer), weakref.ref(trainer.data_loader)]
    del trainer
    assert [reference() for reference in references] == [None, None]
