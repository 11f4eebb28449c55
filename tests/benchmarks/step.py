"""What a training step costs, beside loops written by hand: ``python -m tests.benchmarks.step``.

Each measurement is a new process with one thread. ``limit`` has everything that is known to make a
step cheaper: see ``tuned.py``; here, it also uses channels_last. All arms compute loss and
accuracy, and ours writes to TensorBoard.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from tests.benchmarks.peers import ARMS, Job
from tests.benchmarks.table import compare
from tests.benchmarks.tuned import limit
from tests.helpers import ROOT, make_trainer

ROUNDS, EPOCHS = 5, 4
NUM_DISTINCT_BATCHES = 16


class Case(NamedTuple):
    """A model and its batches.

    Attributes:
        arch: of the config.
        shape: of an input.
        batch_size: samples in a batch.
        steps: of an epoch.
    """

    arch: dict[str, Any]
    shape: tuple[int, ...]
    batch_size: int
    steps: int


MLP_ARGS = {"in_features": 64, "out_features": 10, "hidden": [32]}
CASES = {
    "mlp": Case({"type": "mlp.MLP", "args": MLP_ARGS}, (64,), 32, 1500),
    "lenet": Case({"type": "lenet.LeNet"}, (1, 28, 28), 128, 60),
}


class Batches:
    """A loader whose batches take no time, so that only the loop is measured."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        size = self.batch_size = case.batch_size
        distinct = [
            (torch.randn(size, *case.shape), torch.randint(10, (size,)))
            for _ in range(NUM_DISTINCT_BATCHES)
        ]
        self.batches = [distinct[step % NUM_DISTINCT_BATCHES] for step in range(case.steps)]

    def __getitem__(self, step: int) -> Any:
        return self.batches[step]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def make_model(case: str) -> Any:
    from model.lenet import LeNet
    from model.mlp import MLP

    return MLP(**CASES[case].arch["args"]) if case == "mlp" else LeNet()


def ours(case: str, batches: Batches) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "name": "step",
            "n_gpu": 0,
            "arch": CASES[case].arch,
            "data_loader": {"type": "DigitsDataLoader"},  # replaced below
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


def make_job(arm: str, case: str, batches: Batches) -> Job:
    """Returns what an arm trains; ``limit`` gets its model and batches in channels_last."""
    model = make_model(case)
    if arm == "limit" and case == "lenet":
        model = model.to(memory_format=torch.channels_last)
        batches.batches = [(x.to(memory_format=torch.channels_last), y) for x, y in batches.batches]
    needs_data_loader = arm in ("Accelerate", "Lightning")
    loader: Any = DataLoader(batches, batch_size=None) if needs_data_loader else batches
    return Job(model, loader, epochs=EPOCHS)


def measure(arm: str, case: str) -> None:
    """Prints the microseconds of a step in the fastest epoch but the first."""
    torch.set_num_threads(1)
    batches = Batches(CASES[case])
    if arm == "ours":
        seconds = ours(case, batches)
    else:
        job = make_job(arm, case, batches)
        (limit if arm == "limit" else ARMS[arm])(job)
        seconds = job.clock.seconds
    print(1e6 * min(seconds[1:]) / CASES[case].steps)


def measure_in_process(arm: str, case: str) -> float:
    code = f"from tests.benchmarks.step import measure; measure('{arm}', '{case}')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main(rounds: int = ROUNDS) -> None:
    for case in CASES:
        measure_case = partial(measure_in_process, case=case)
        compare(f"A training step, {case}, one thread", "us", rounds, measure_case)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
