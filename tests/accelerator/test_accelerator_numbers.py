"""Faster kernels and layouts give the numbers of the plain ones, up to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from base.loop.speedups import FUSED_DEVICES
from tests.accelerator.device import (
    DEVICE,
    ON_CUDA,
    ON_SIMULATED,
    device_config,
    is_on_device,
    mlp_config,
)
from tests.helpers import make_trainer

KERNELS = ("fused", "foreach", "capturable", "")  # the empty one is our choice
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    "Adam": {"lr": 0.001},
    "AdamW": {"lr": 0.001},
}


def train(folder: Path, name: str, args: dict[str, Any], run_id: str) -> Any:
    config = mlp_config(folder) | {"optimizer": {"type": name, "args": args}}
    trainer = make_trainer(config, run_id)
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_foreach_capturable_give_the_same_weights(tmp_path: Path, name: str) -> None:
    args = OPTIMIZERS[name]
    plain = train(tmp_path, name, args | {"foreach": False}, "plain")
    for kernel in KERNELS:
        if kernel == "capturable" and (not ON_CUDA or name == "SGD"):
            continue
        if kernel == "fused" and ON_SIMULATED:
            continue  # torch has a list of devices
        trainer = train(tmp_path, name, args | ({kernel: True} if kernel else {}), f"k{kernel}")
        is_fused = kernel == "fused" or (not kernel and DEVICE.type in FUSED_DEVICES)
        assert bool(trainer.optimizer.defaults["fused"]) == is_fused
        expected = plain.model.state_dict()
        for key, value in trainer.model.state_dict().items():
            assert is_on_device(value)
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_channels_last_is_kept_with_the_same_numbers(tmp_path: Path) -> None:
    logs, layouts = [], set()

    def note(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        layouts.add(output.is_contiguous(memory_format=torch.channels_last))

    for channels_last in (False, True):
        config = device_config(tmp_path, channels_last=channels_last)
        config["arch"]["args"] |= {"width": 8, "dropout": 0.0}
        config["optimizer"] = {"type": "SGD", "args": {"lr": 0.05}}
        trainer = make_trainer(config, f"{channels_last}")
        if channels_last:
            for layer in trainer.model.features[:6]:
                layer.register_forward_hook(note)
        trainer.train()
        logs.append(trainer.last_log)
    assert layouts == {True}
    assert logs[1]["val_loss"] == pytest.approx(logs[0]["val_loss"], rel=0.02)


def test_accumulation_gives_the_gradient_of_a_large_batch(tmp_path: Path) -> None:
    gradients = []
    for batch_size, accumulation in ((128, 1), (32, 4)):
        config = mlp_config(tmp_path, epochs=1, accumulation_steps=accumulation)
        config["data_loader"]["args"]["batch_size"] = batch_size
        trainer = make_trainer(config, f"of{batch_size}")
        found: list[torch.Tensor] = []

        def note(*_: Any, trainer: Any = trainer, found: list[torch.Tensor] = found) -> None:
            found.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))

        trainer.optimizer.register_step_pre_hook(note)
        trainer.train()
        gradients.append(found)
    for large, small in zip(gradients[0][:8], gradients[1][:8], strict=True):
        torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-5)
