"""Features on the device: cached features, batch transforms, a model on two devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from base.data.batch_transforms import CropEach, CutMixEach, CutoutEach, FlipEach, MixUpEach
from tests.accelerator.device import DEVICE, device_config, is_on_device
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.helpers import differences, load, make_trainer
from utils.batch import to_device
from utils.seed import temporary_seed

TRANSFORMS = {
    "flip": FlipEach(),
    "crop": CropEach(),
    "cutout": CutoutEach(3),
    "mixup": MixUpEach(10),
    "cutmix": CutMixEach(10),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_batch_transforms_give_what_they_give_on_the_cpu(name: str) -> None:
    """The random numbers are the CPU's, so a run sees the same pictures on any device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8, generator=generator)
    batch = v2.ToDtype(torch.float32, scale=True)(images), torch.arange(32) % 10
    results = []
    for device in (torch.device("cpu"), DEVICE):
        with temporary_seed(7):
            results.append(TRANSFORMS[name](to_device(list(batch), device)))
    for value, expected in zip(results[1], results[0], strict=True):
        assert is_on_device(value)
        torch.testing.assert_close(value.cpu(), expected)


def test_cached_features_train_alike(tmp_path: Path) -> None:
    trainers = []
    for is_cached in (False, True):
        config = device_config(tmp_path, ema_decay=0.9)
        config["transfer"] = {"freeze": "all_but_head", "cache_features": is_cached}
        trainer = make_trainer(config, f"{is_cached}")
        trainer.train()
        trainers.append(trainer)
    plain, cached = (trainer.last_log for trainer in trainers)
    assert cached["val_loss"] == pytest.approx(plain["val_loss"], rel=0.02)
    states = [load(t.checkpoint_dir / "checkpoint-epoch2.pt") for t in trainers]
    assert differences(states[0]["random"]["torch"], states[1]["random"]["torch"]) == []
    assert all(map(is_on_device, trainers[1].model.parameters()))


@pytest.mark.parametrize("order", [("cpu", DEVICE.type), (DEVICE.type, "cpu")])
def test_a_model_on_cpu_and_device_trains_and_resumes(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    config = device_config(tmp_path, epochs=3, save_steps=4, grad_clip_norm=1.0, ema_decay=0.9)
    arch = {"type": "two_device.TwoDeviceNet", "args": {"devices": list(order)}}

    def make(run_id: str | None, resume: Path | None) -> Any:
        return make_trainer(config | {"arch": arch}, run_id or "", resume)

    full = check_resuming(make, "checkpoint-epoch2-step*.pt")
    devices = [parameter.device.type for parameter in full.model.parameters()]
    assert (devices[0], devices[-1]) == order
    assert full.last_log["val_accuracy"] > 0.8
