"""Batches on their way to the device: pinned, without waiting, and intact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator.device import (
    DEVICE,
    cuda_only,
    device_config,
    is_on_device,
    mlp_config,
    pinned_only,
)
from tests.helpers import make_trainer
from utils.batch import to_device

SLEEP_CYCLES = 1_000_000_000  # half a second


@pinned_only
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_from_pinned_memory(tmp_path: Path, num_workers: int) -> None:
    config = device_config(tmp_path)
    config["data_loader"]["args"]["num_workers"] = num_workers
    trainer = make_trainer(config)
    for loader in (trainer.data_loader, trainer.valid_data_loader):
        for batch in loader:
            assert [tensor.is_pinned() for tensor in batch] == [True, True]


@cuda_only
def test_the_copy_of_a_batch_does_not_wait(tmp_path: Path) -> None:
    trainer = make_trainer(device_config(tmp_path))
    batch = next(iter(trainer.data_loader))
    to_device(batch, DEVICE)
    torch.cuda._sleep(SLEEP_CYCLES)
    slept = torch.cuda.Event()
    slept.record()
    moved = to_device(batch, DEVICE)
    assert not slept.query(), "the copy has waited"
    torch.cuda.synchronize()
    assert torch.equal(moved[0].cpu(), batch[0])


@cuda_only
def test_steps_are_queued_while_the_device_is_busy(tmp_path: Path) -> None:
    """Also finds waiting that CUDA's mode for this does not know."""
    trainer = make_trainer(mlp_config(tmp_path))
    slept = torch.cuda.Event()
    late = []
    after_step = trainer.after_step

    def watch(loss: torch.Tensor) -> None:
        if trainer.progress.step == 3:
            # Allocating pinned memory may wait, so there are enough blocks before.
            blocks = [
                torch.empty_like(t, device="cpu").pin_memory() for t in batch for _ in "8" * 8
            ]
            del blocks
            torch.cuda._sleep(SLEEP_CYCLES)
            slept.record()
        elif trainer.progress.step in (4, 5, 6, 7):
            late.append(slept.query())
        after_step(loss)

    batch = [value.clone() for value in next(iter(trainer.data_loader))]
    trainer.after_step = watch
    trainer.train()
    assert late[:4] == [False] * 4, "a step has waited"


def test_batches_of_any_form_arrive_intact(tmp_path: Path) -> None:
    """The memory of a copy that is under way must not be used again."""
    trainer = make_trainer(device_config(tmp_path))
    sums, expected = [], []
    for _ in range(5):
        for images, target in trainer.data_loader:
            batch: dict[str, Any] = {"x": (images, [target]), "name": "digits"}
            moved = to_device(batch, DEVICE)
            expected.append(images.double().sum() + target.sum())
            sums.append(moved["x"][0].double().sum() + moved["x"][1][0].sum())
            assert is_on_device(moved["x"][0])
            assert moved["name"] == "digits"
            assert isinstance(moved["x"], tuple)
    torch.testing.assert_close(torch.stack(sums).cpu(), torch.stack(expected))
