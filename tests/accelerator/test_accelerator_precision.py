"""Mixed precision: fp16 with its loss scale, and bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from base.loop.update import AUTOCAST_DTYPES
from tests.accelerator.device import device_config, is_on_device
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.helpers import load, make_trainer

OVERFLOW_STEP = 4
ONE_CYCLE = {"type": "OneCycleLR", "args": {"max_lr": 0.05, "total_steps": 18}}


class Step(NamedTuple):
    """What an optimizer step has left behind."""

    scale: float
    schedule_steps: int
    weights: torch.Tensor


def train_with_overflow(trainer: Any) -> list[Step]:
    """Trains an epoch, in which the gradients of one step overflow."""
    steps: list[Step] = []
    update = trainer.update
    parameter = next(trainer.model.parameters())

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf") if len(steps) == OVERFLOW_STEP else gradient

    def note(_loss: Any) -> None:
        weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        count = update.schedule.lr_scheduler.last_epoch
        steps.append(Step(update.scaler.get_scale(), count, weights.cpu()))

    parameter.register_hook(overflow)
    trainer.after_step = note
    trainer._train_epoch(1)
    return steps


def test_fp16_overflow_skips_a_step_and_halves_the_scale(tmp_path: Path) -> None:
    config = device_config(tmp_path, precision="fp16") | {"lr_scheduler": ONE_CYCLE}
    steps = train_with_overflow(make_trainer(config))
    before, skipped, after = steps[OVERFLOW_STEP - 1 : OVERFLOW_STEP + 2]
    assert skipped.scale == before.scale / 2
    assert skipped.schedule_steps == before.schedule_steps
    assert torch.equal(skipped.weights, before.weights)
    assert after.scale == skipped.scale
    assert after.schedule_steps == skipped.schedule_steps + 1
    assert not torch.equal(after.weights, skipped.weights)
    assert after.weights.isfinite().all()


def test_the_scale_of_fp16_is_restored_on_resume(tmp_path: Path) -> None:
    """All bits of a resumed run are those of a run without a stop, and the scale among them."""
    config = device_config(tmp_path, precision="fp16", save_steps=4)

    def make(run_id: str | None, resume: Path | None) -> Any:
        trainer = make_trainer(config, run_id or "", resume)
        if resume is None:
            trainer.update.scaler._init_scale = 256.0
        return trainer

    full = check_resuming(make, "checkpoint-epoch1-step4.pt")
    state = load(full.checkpoint_dir / "checkpoint-epoch2.pt")["parts"]["update"]["scaler"]
    assert state["scale"] == 256.0
    assert state["_growth_tracker"] == full.progress.step


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fp16_and_bf16_train_with_weights_in_fp32(tmp_path: Path, precision: str) -> None:
    trainer = make_trainer(device_config(tmp_path, precision=precision, epochs=4))
    found: set[torch.dtype] = set()
    trainer.model.register_forward_hook(lambda *args: found.add(args[-1].dtype))
    trainer.train()
    assert found == {AUTOCAST_DTYPES[precision]}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert all(map(is_on_device, trainer.model.parameters()))
    assert trainer.last_log["val_accuracy"] > 0.8
