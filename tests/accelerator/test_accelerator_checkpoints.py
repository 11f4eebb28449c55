"""Checkpoints of a run on the device: readable anywhere, and written in the background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint.snapshot import copy_to_cpu
from tests.accelerator.device import (
    DEVICE,
    ON_CUDA,
    device_config,
    device_only,
    is_on_device,
    mlp_config,
    pinned_only,
)
from tests.base.checkpoint.resumed_runs import copy_checkpoint, load_last
from tests.helpers import differences, load, make_trainer
from utils.checkpoints import list_checkpoints


def list_tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for item in items:
            yield from list_tensors(item)


def without_run(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("config", "environment")}


@pytest.mark.parametrize("async_save", [False, True])
def test_checkpoints_can_be_read_without_a_device(tmp_path: Path, async_save: bool) -> None:
    """``torch.load`` puts each tensor on the device that the file names for it."""
    trainer = make_trainer(device_config(tmp_path, epochs=1, ema_decay=0.9, async_save=async_save))
    trainer.train()
    (path,) = list_checkpoints(trainer.checkpoint_dir)
    state = torch.load(path, weights_only=True)
    assert {str(tensor.device) for tensor in list_tensors(state)} == {"cpu"}
    assert all(map(is_on_device, trainer.model.parameters()))


@device_only
def test_a_run_moves_to_the_cpu_and_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = device_config(tmp_path, epochs=3)
    first = make_trainer(config | {"trainer": config["trainer"] | {"epochs": 1}}, "first")
    first.train()
    weights = []
    folder = first.checkpoint_dir
    for epochs, n_gpu, kind in ((2, 0, "cpu"), (3, 1, DEVICE.type)):
        path = list_checkpoints(folder)[0]
        folder = tmp_path / f"small/on_{kind}"
        options = config["trainer"] | {"epochs": epochs}
        moved = config | {"trainer": options, "n_gpu": n_gpu}
        trainer = make_trainer(moved, resume=copy_checkpoint(path, folder))
        assert differences(trainer.model.state_dict(), load(path)["state_dict"]) == []
        trainer.train()
        assert trainer.device.type == kind
        states = trainer.optimizer.state.values()
        assert {state["exp_avg"].device.type for state in states} == {kind}
        weights.append(load(list_checkpoints(folder)[0])["state_dict"])
    assert f"device {DEVICE.type} -> cpu" in caplog.text
    assert f"device cpu -> {DEVICE.type}" in caplog.text
    assert differences(*weights), "the last epoch has changed nothing"


def test_background_saves_hold_the_state_of_their_step(tmp_path: Path) -> None:
    """Training goes on while the copy is made, which must not change it."""
    states = []
    for run_id, async_save in (("plain", False), ("background", True)):
        config = mlp_config(tmp_path, save_steps=1, async_save=async_save, ema_decay=0.9)
        trainer = make_trainer(config, run_id)
        trainer.train()
        paths = list_checkpoints(trainer.checkpoint_dir)
        states.append([without_run(load(path)) for path in paths])
    assert len(states[0]) == len(states[1]) == 2 * 9 + 2
    assert differences(states[0], states[1]) == []


@pinned_only
def test_background_saves_copy_into_pinned_memory() -> None:
    """Copies into other memory are several times slower, and training waits for them."""
    state = {"weights": torch.ones(1000, device=DEVICE), "list": [torch.ones(3, device=DEVICE)]}
    copies = copy_to_cpu(state)
    again = copy_to_cpu(state, copies)
    assert again["weights"].data_ptr() == copies["weights"].data_ptr()
    assert all(tensor.is_pinned() for tensor in list_tensors(again))
    assert differences(again, state) == []


@pytest.mark.parametrize("kernel", ["fused", "foreach", "capturable"])
def test_a_resumed_optimizer_has_its_state_on_the_device(tmp_path: Path, kernel: str) -> None:
    if kernel == "capturable" and not ON_CUDA:
        pytest.skip("tests CUDA itself")
    config = mlp_config(tmp_path)
    config["optimizer"] = {"type": "AdamW", "args": {"lr": 0.001, kernel: True}}
    first = make_trainer(config, "first")
    first.train()
    config["trainer"]["epochs"] = 3
    path = list_checkpoints(first.checkpoint_dir)[0]
    second = make_trainer(config, resume=copy_checkpoint(path, tmp_path / "small/second"))
    second.train()
    expected = [
        {name: (value.device, value.dtype) for name, value in state.items()}
        for state in first.optimizer.state.values()
    ]
    found = [
        {name: (value.device, value.dtype) for name, value in state.items()}
        for state in second.optimizer.state.values()
    ]
    assert found == expected
    assert all(is_on_device(state["exp_avg"]) for state in second.optimizer.state.values())
    assert load_last(second.checkpoint_dir)["step"] == 3 * 9
