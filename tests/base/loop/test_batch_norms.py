"""The statistics of batch norms for averaged weights, from training batches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from base.loop.batch_norms import recompute_statistics
from base.loop.evaluate import forward
from tests.helpers import differences, make_trainer, small_config

SWA = {"swa": {"start": 1}, "epochs": 2}


def train(tmp_path: Path, run_id: str = "run", workers: int = 0, **options: Any) -> Any:
    config = small_config(tmp_path, **options)
    config["data_loader"]["args"]["num_workers"] = workers
    trainer = make_trainer(config, run_id)
    trainer.train()
    return trainer


def list_statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_average_has_the_statistics_of_torchs_update_bn(tmp_path: Path, workers: int) -> None:
    trainer = train(tmp_path, workers=workers, **SWA)
    found = trainer.update.averages["swa"].module
    expected = copy.deepcopy(found)
    trainer.data_loader.set_epoch(2)
    update_bn(trainer.data_loader, expected)
    torch.testing.assert_close(list_statistics(found), list_statistics(expected))
    assert all(
        not torch.equal(value, list_statistics(trainer.model)[name])
        for name, value in list_statistics(found).items()
    )


@pytest.mark.parametrize("options", [{}, {"len_epoch": 4}], ids=["epochs", "parts of a pass"])
def test_the_training_keeps_its_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    """With dropout, which draws random numbers in the pass that gathers the statistics."""
    states = []
    for run_id, swa in (("without", {}), ("with", SWA)):
        trainer = train(tmp_path, run_id, **{"epochs": 2} | options | swa)
        state = trainer.train_state.collect()
        state["parts"]["update"].pop("swa", None)
        states.append(state | {"config": None})
    assert differences(*states) == []


def test_at_most_so_many_batches_are_read(tmp_path: Path) -> None:
    swa = {"swa": {"start": 1, "batch_norm_batches": 2}}
    counts = train(tmp_path, epochs=1, **swa).update.averages["swa"].module.features[1]
    assert counts.num_batches_tracked == 2


def test_a_norm_that_stays_in_eval_mode_keeps_its_statistics(tmp_path: Path) -> None:
    trainer = train(tmp_path, epochs=1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    model[1].train = lambda mode=True: nn.Module.train(model[1], False)  # type: ignore[assignment]
    model[1].running_mean.fill_(5.0)
    recompute_statistics(model, trainer.update, trainer.data_loader, forward, 3)
    assert model[1].running_mean.tolist() == [5.0] * 4
    assert model[2].num_batches_tracked == 3
    assert (model[2].momentum, model.training) == (0.1, False)
