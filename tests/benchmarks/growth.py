"""What grows with the length of a run: ``python -m tests.benchmarks.growth``.

It measures the memory, the time of a step, and the time until a resumed epoch has its first batch.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from base import BaseDataLoader
from tests.helpers import make_trainer, small_config

STEPS, STEPS_PER_EPOCH = 20_000, 2_000
NUM_SAMPLES, BATCH_SIZE = 10_000_000, 100


def get_resident_mb() -> float:
    """Returns the memory of this process, in 10^6 bytes."""
    rows = Path("/proc/self/status").read_text().splitlines()
    row = next(row for row in rows if row.startswith("VmRSS"))
    return float(row.split()[1]) * 1024 / 1e6


class Numbers(Dataset[Any]):
    """Any number of samples that take neither time nor memory."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitems__(self, indices: list[int]) -> Any:
        x = torch.tensor(indices, dtype=torch.float32)
        inputs = (x / self.num_samples).unsqueeze(1).expand(-1, 64)
        return list(zip(inputs.unbind(), (x.long() % 10).unbind(), strict=True))


def make_long_trainer(folder: Path, num_samples: int, **options: Any) -> Any:
    config = small_config(folder, tensorboard=True, **options)
    args = {"in_features": 64, "out_features": 10, "hidden": [32]}
    config["arch"] = {"type": "mlp.MLP", "args": args}
    trainer = make_trainer(config, run_id="run")
    trainer.data_loader = BaseDataLoader(Numbers(num_samples), BATCH_SIZE)
    trainer.valid_data_loader, trainer.do_validation = None, False
    trainer.len_epoch = len(trainer.data_loader)
    return trainer


def measure_steps() -> None:
    """Prints the memory and the time of a step, at the start and at the end of a long run."""
    memory, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        epochs = STEPS // STEPS_PER_EPOCH
        num_samples = STEPS_PER_EPOCH * BATCH_SIZE
        trainer = make_long_trainer(Path(folder), num_samples, epochs=epochs, save_period=STEPS)
        train_epoch = trainer._train_epoch

        def train_measured_epoch(epoch: int) -> Any:
            start = time.perf_counter()
            log = train_epoch(epoch)
            seconds.append(time.perf_counter() - start)
            memory.append(get_resident_mb())
            return log

        trainer._train_epoch = train_measured_epoch
        trainer.train()
    early, late = (
        1e6 * statistics.median(epochs) / STEPS_PER_EPOCH for epochs in (seconds[1:4], seconds[-3:])
    )
    print(
        f"memory after {STEPS_PER_EPOCH:,} steps {memory[0]:.1f} MB, "
        f"after {STEPS:,} {memory[-1]:.1f} MB: {memory[-1] / memory[0] - 1:+.2%}"
    )
    print(f"a step: {early:.0f} us at the start, {late:.0f} us at the end")


def measure_resume() -> None:
    """Prints the time to the first batch, at the start of a long epoch and at 99 % of it."""
    results = []
    for fraction in (0.0, 0.99):
        loader = BaseDataLoader(Numbers(NUM_SAMPLES), BATCH_SIZE)
        loader.set_epoch(1, int(fraction * len(loader)))
        start = time.perf_counter()
        next(iter(loader))
        results.append(f"at {fraction:.0%} {time.perf_counter() - start:.2f} s")
    print(f"first batch of an epoch of {NUM_SAMPLES:,} samples: {', '.join(results)}")


def main() -> None:
    torch.set_num_threads(1)
    measure_steps()
    measure_resume()


if __name__ == "__main__":
    main()
