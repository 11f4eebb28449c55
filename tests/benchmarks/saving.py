"""How long a save holds the loop: ``python -m tests.benchmarks.saving [FOLDER]``. 17 million parameters with Adam."""

from __future__ import annotations

import functools
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

from base.checkpoint.manager import Saver
from base.options import TrainerOptions
from utils.files import fsync_folder

ROUNDS = 9


def state(width: int = 2062, layers: int = 4) -> dict[str, Any]:
    """A checkpoint's bulk after one step of Adam: weights and two moments, 204 MB."""
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return {"epoch": 1, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}


def plain(value: dict[str, Any], folder: Path) -> None:
    """What one writes by hand who knows what a crash does."""
    temporary, path = folder / "plain.tmp", folder / "plain.pt"
    with temporary.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(folder)


def held(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    value, logger = state(), logging.getLogger("saving")
    seconds: dict[str, list[float]] = {
        "torch.save with fsyncs": [],
        "save": [],
        "asynchronous save": [],
    }
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        (folder / "sync").mkdir()
        (folder / "async").mkdir()
        synchronous = Saver(folder / "sync", TrainerOptions(epochs=1), logger)
        asynchronous = Saver(folder / "async", TrainerOptions(epochs=1, async_save=True), logger)
        for turn in range(ROUNDS + 1):
            os.sync()
            times = [held(lambda: plain(value, folder))]
            for saver in (synchronous, asynchronous):
                os.sync()
                times.append(
                    held(functools.partial(saver.save, lambda: value, "checkpoint-epoch1.pt", turn))
                )
            asynchronous.wait()
            if turn:  # the first one warms up
                for row, took in zip(seconds.values(), times, strict=True):
                    row.append(took)
    medians = {what: statistics.median(row) for what, row in seconds.items()}
    for what, row in seconds.items():
        print(f"{what:24} {medians[what]:.3f} s ({min(row):.3f} to {max(row):.3f})")
    by_hand, ours, copied = medians.values()
    print(f"save / torch.save: {ours / by_hand:.2f}   asynchronous / save: {copied / ours:.2f}")


if __name__ == "__main__":
    main()
