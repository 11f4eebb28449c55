"""How long a save stops the loop: ``python -m tests.benchmarks.saving [FOLDER]``.

The checkpoint has 17 million parameters and Adam's state. FOLDER is on the disk to measure.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from base.checkpoint.manager import CheckpointManager
from base.options import TrainerOptions
from utils.files import fsync_folder

ROUNDS = 9


def make_state(width: int = 2062, layers: int = 4) -> dict[str, Any]:
    """Returns the weights and the two moments of Adam after one step: 204 MB."""
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return {"epoch": 1, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}


def save_by_hand(state: dict[str, Any], folder: Path) -> None:
    """Saves as one writes it by hand when a crash must not destroy the file."""
    temporary, path = folder / "plain.tmp", folder / "plain.pt"
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(folder)


def measure_seconds(call: Callable[[], None]) -> float:
    os.sync()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def make_manager(folder: Path, async_save: bool) -> CheckpointManager:
    folder.mkdir()
    options = TrainerOptions(epochs=1, async_save=async_save)
    return CheckpointManager(folder, options, logging.getLogger("saving"))


def main(disk: str | None = None) -> None:
    state = make_state()
    with tempfile.TemporaryDirectory(dir=disk) as name:
        folder = Path(name)
        synchronous = make_manager(folder / "sync", async_save=False)
        asynchronous = make_manager(folder / "async", async_save=True)
        calls: dict[str, Callable[[], None]] = {
            "torch.save with fsyncs": lambda: save_by_hand(state, folder),
            "save": lambda: synchronous.save(lambda: state, mark=1, step=1),
            "asynchronous save": lambda: asynchronous.save(lambda: state, mark=1, step=1),
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for index in range(ROUNDS + 1):
            for name, call in calls.items():
                spent = measure_seconds(call)
                if index:  # the first round is a warm-up
                    seconds[name].append(spent)
            asynchronous.wait()
    medians = {name: statistics.median(row) for name, row in seconds.items()}
    for name, row in seconds.items():
        print(f"{name:24} {medians[name]:.3f} s ({min(row):.3f} to {max(row):.3f})")
    by_hand, ours, copied = medians.values()
    print(f"save / torch.save: {ours / by_hand:.2f}   asynchronous / save: {copied / ours:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
