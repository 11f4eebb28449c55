"""What a training step costs beside loops by hand: ``python -m tests.benchmarks.step``. One thread, fresh processes.

``limit`` has all that is known to make a step cheaper: the fused optimizer, numbers fetched once an epoch,
channels_last, and a malloc that keeps its pages. Each keeps loss and accuracy; ours writes TensorBoard too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from tests.benchmarks.peers import ARMS
from tests.benchmarks.table import compare
from tests.helpers import ROOT, make_trainer

ROUNDS, EPOCHS = 5, 4
# model's config, shape of the input, batch size, steps of an epoch
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], int, int]] = {
    "mlp": (
        {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10, "hidden": [32]}},
        (64,),
        32,
        1500,
    ),
    "lenet": ({"type": "lenet.LeNet"}, (1, 28, 28), 128, 60),
}


class Batches:
    """A loader whose batches cost nothing: what is measured is the loop."""

    def __init__(self, shape: tuple[int, ...], batch_size: int, steps: int) -> None:
        torch.manual_seed(0)
        made = [
            (torch.randn(batch_size, *shape), torch.randint(10, (batch_size,))) for _ in range(16)
        ]
        self.batch_size, self.batches = batch_size, [made[step % 16] for step in range(steps)]

    def __getitem__(self, step: int) -> Any:
        return self.batches[step]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def model_of(case: str) -> Any:
    from model.lenet import LeNet
    from model.mlp import MLP

    return MLP(**CASES[case][0]["args"]) if case == "mlp" else LeNet()


def limit(case: str, batches: Batches) -> list[float]:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
    libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD
    model, seconds = model_of(case), []
    if case == "lenet":
        model = model.to(memory_format=torch.channels_last)
        batches.batches = [(x.to(memory_format=torch.channels_last), y) for x, y in batches.batches]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for _ in range(EPOCHS):
        start, total, right = time.perf_counter(), torch.zeros(()), torch.zeros(())
        for x, y in batches:
            output = model(x)
            loss = F.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                total += loss
                right += (output.argmax(1) == y).sum()
        total.item(), right.item()
        seconds.append(time.perf_counter() - start)
    return seconds


def ours(case: str, batches: Batches) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "name": "step",
            "n_gpu": 0,
            "arch": CASES[case][0],
            "data_loader": {
                "type": "DigitsDataLoader",
                "args": {"batch_size": 64, "shuffle": True},
            },
            "optimizer": {"type": "Adam", "args": {"lr": 1e-3}},
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "trainer": {
                "epochs": EPOCHS,
                "save_dir": folder,
                "save_period": EPOCHS,
                "channels_last": case == "lenet",
            },
        }
        trainer = make_trainer(config)
        trainer.data_loader, trainer.len_epoch = batches, len(batches)
        trainer.train()
        lines = (Path(folder) / "step" / "run" / "log" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["seconds"] for line in lines]


def measure(arm: str, case: str) -> None:
    """Prints microseconds a step: the best epoch after the first."""
    torch.set_num_threads(1)
    _, shape, batch_size, steps = CASES[case]
    batches = Batches(shape, batch_size, steps)
    if arm in ARMS:
        loader: Any = (
            DataLoader(batches, batch_size=None) if arm in ("Accelerate", "Lightning") else batches
        )
        seconds = ARMS[arm](model_of(case), loader, None, EPOCHS, None)
    else:
        seconds = {"limit": limit, "ours": ours}[arm](case, batches)
    print(1e6 * min(seconds[1:]) / steps)


def microseconds_of(arm: str, case: str) -> float:
    code = f"from tests.benchmarks.step import measure; measure('{arm}', '{case}')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main(rounds: int = ROUNDS) -> None:
    for case in CASES:
        compare(
            f"A training step, {case}, one thread",
            "us",
            rounds,
            partial(microseconds_of, case=case),
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
