"""The device of these tests: the machine's accelerator, or what stands in for it."""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator.simulated import load as simulated
from tests.helpers import small_config
from utils import batch

STAND_IN_VARIABLE = "ACCELERATOR_STAND_IN"
STAND_IN = os.environ.get(STAND_IN_VARIABLE, "")  # cpu or simulated
PINNING_MODULES = (  # those that import ``PINNED_FOR``
    "utils.batch",
    "base.data.worker",
    "base.data.batch_transforms",
    "base.checkpoint.snapshot",
)
NO_DEVICE = "no accelerator on this machine"


def find_device() -> torch.device | None:
    """The first accelerator, or the device that stands in for it; None if there is neither."""
    if STAND_IN == "cpu":
        return torch.device("cpu")
    if STAND_IN == simulated.NAME:
        simulated.load()
        pin_memory_for_simulated()
    if not torch.accelerator.is_available():
        return None
    accelerator = torch.accelerator.current_accelerator()
    return None if accelerator is None else torch.device(accelerator.type, 0)


def pin_memory_for_simulated() -> None:
    """Adds the simulated device to those for which batches are copied from pinned memory."""
    for name in PINNING_MODULES:
        module: Any = importlib.import_module(name)
        module.PINNED_FOR = (*module.PINNED_FOR, simulated.NAME)


FOUND = find_device()
DEVICE = torch.device("cpu") if FOUND is None else FOUND
ON_CPU = DEVICE.type == "cpu"
ON_CUDA = DEVICE.type == "cuda"
ON_SIMULATED = DEVICE.type == simulated.NAME
N_GPU = 0 if ON_CPU else 1


def needs(condition: bool, reason: str) -> pytest.MarkDecorator:
    """A mark that skips a test with this reason; without an accelerator, with that reason."""
    return pytest.mark.skipif(not condition, reason=NO_DEVICE if FOUND is None else reason)


cuda_only = needs(ON_CUDA, "tests CUDA itself")
pinned_only = needs(DEVICE.type in batch.PINNED_FOR, "this device does not copy from pinned memory")
device_only = needs(not ON_CPU, "the CPU cannot stand in for this")
real_only = needs(not ON_CPU and not ON_SIMULATED, "nothing can stand in for this")


def device_config(folder: Path, **trainer: Any) -> dict[str, Any]:
    """A quick experiment with convolutions and dropout on the device, with its runs in a folder."""
    return small_config(folder, **trainer) | {"n_gpu": N_GPU}


def mlp_config(folder: Path, **trainer: Any) -> dict[str, Any]:
    """A quick experiment on the device without random numbers or batch norms in the model.

    The model starts on the CPU, from where the trainer moves it.
    """
    arch = {"type": "two_device.TwoDeviceNet", "args": {"devices": ["cpu", "cpu"]}}
    optimizer = {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
    return device_config(folder, **trainer) | {"arch": arch, "optimizer": optimizer}


def free_memory() -> None:
    """Gives the memory of deleted objects back to the device."""
    gc.collect()
    if not ON_CPU:
        torch.accelerator.empty_cache()


def is_on_device(value: torch.Tensor) -> bool:
    return value.device.type == DEVICE.type
