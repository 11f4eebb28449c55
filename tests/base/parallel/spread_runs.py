"""Runs of several ranks for the tests of the strategies."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import make_trainer, small_config
from utils.distributed import rank
from utils.dtensor import is_dtensor

FSDP_SECTION = {"parallel": {"type": "fsdp", "args": {"blocks": ["layers.*"]}}}


def table_config(tmp_path, **trainer):
    """A config whose numbers do not depend on the number of ranks.

    The model has no batch norm and no dropout. 364 samples train it and 91 validate it.
    """
    return small_config(tmp_path, **trainer) | {
        "arch": {"type": "mlp.MLP", "args": {"in_features": 30, "hidden": [16]}},
        "data_loader": {
            "type": "breast_cancer.BreastCancerDataLoader",
            "args": {"batch_size": 32, "validation_split": 0.2},
        },
        "loss": {"type": "BCEWithLogitsLoss"},
        "metrics": ["binary_accuracy"],
    }


def train(config, run_id, resume=None):
    """Trains a run to its end. Returns the name of the class around its model."""
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return type(trainer.model).__name__


def train_sharded(config, run_id, resume=None):
    """Trains a run to its end.

    Returns:
        The number of parameters that are sharded, and whether the norm of the gradient is.
    """
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    parameters = trainer.model.parameters()
    return sum(map(is_dtensor, parameters)), is_dtensor(trainer.update.grad_norm)


def check_same_lines(folder, expected_folder, rel=1e-4):
    """Two runs have the same lines in metrics.jsonl, up to rounding."""
    lines, expected = read_lines(folder), read_lines(expected_folder)
    assert [line.keys() for line in lines] == [line.keys() for line in expected]
    for line, expected_line in zip(lines, expected, strict=True):
        assert line == pytest.approx(expected_line, rel=rel, abs=rel / 10)


def stop_in(config, phase):
    """Trains; rank 1 gets a SIGTERM in its second batch of ``training`` or ``validation``.

    Returns:
        The exit status, and where the rank stopped: epoch, batch and step.
    """
    trainer = make_trainer(config)
    phases = []

    def count(module, _inputs, _output):
        phases.append("training" if module.training else "validation")
        if rank() == 1 and phases[-1] == phase and phases.count(phase) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.parallel.unwrap(trainer.model).register_forward_hook(count)
    trainer.train()
    progress = trainer.progress
    return trainer.stop.status, progress.epoch, progress.batch, progress.step


def train_with_bad_loss(config, bad_batch):
    """Trains with an infinite loss in one batch, counted from 0, of rank 1."""
    trainer = make_trainer(config)
    criterion, calls = trainer.criterion, []

    def overflow(output: Any, target: Any) -> Any:
        calls.append(1)
        is_bad = rank() == 1 and len(calls) == bad_batch + 1
        return criterion(output, target) * (float("inf") if is_bad else 1)

    trainer.criterion = overflow
    trainer.train()
