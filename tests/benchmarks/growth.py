"""What grows with a run's length: ``python -m tests.benchmarks.growth``. Memory, time of a step, time to resume."""

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

STEPS, EPOCH = 20_000, 2_000
SAMPLES, BATCH = 10_000_000, 100


def resident_mb() -> float:
    """What the process holds in memory now, in 10^6 bytes."""
    line = next(
        row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS")
    )
    return float(line.split()[1]) * 1024 / 1e6


class Numbers(Dataset[Any]):
    """So many samples that cost nothing."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitems__(self, indices: list[int]) -> Any:
        x = torch.tensor(indices, dtype=torch.float32)
        return list(
            zip(
                (x / self.n).unsqueeze(1).expand(-1, 64).unbind(),
                (x.long() % 10).unbind(),
                strict=True,
            )
        )


def made(folder: Path, n: int, **trainer: Any) -> Any:
    config = small_config(folder, tensorboard=True, **trainer)
    config["arch"] = {
        "type": "mlp.MLP",
        "args": {"in_features": 64, "out_features": 10, "hidden": [32]},
    }
    made = make_trainer(config, run_id="run")
    made.data_loader, made.valid_data_loader, made.do_validation = (
        BaseDataLoader(Numbers(n), BATCH),
        None,
        False,
    )
    made.len_epoch = len(made.data_loader)
    return made


def steps() -> None:
    """Memory and the time of a step at the beginning and at the end of many steps."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = made(Path(folder), EPOCH * BATCH, epochs=STEPS // EPOCH, save_period=STEPS)
        memory, seconds = [], []
        epoch_of = trainer._train_epoch

        def measured(epoch: int) -> Any:
            start = time.perf_counter()
            log = epoch_of(epoch)
            seconds.append(time.perf_counter() - start)
            memory.append(resident_mb())
            return log

        trainer._train_epoch = measured
        trainer.train()
    early, late = (1e6 * statistics.median(part) / EPOCH for part in (seconds[1:4], seconds[-3:]))
    print(
        f"memory after {EPOCH:,} steps {memory[0]:.1f} MB, after {STEPS:,} {memory[-1]:.1f} MB: ",
        end="",
    )
    print(f"{memory[-1] / memory[0] - 1:+.2%}")
    print(f"a step: {early:.0f} us at the beginning, {late:.0f} us at the end")


def resume() -> None:
    """How long the loader needs to its first batch, at the beginning of a long epoch and at 99 % of it."""
    took = {}
    for share in (0.0, 0.99):
        loader = BaseDataLoader(Numbers(SAMPLES), BATCH)
        loader.set_epoch(1)
        loader.load_state_dict(loader.state_dict() | {"consumed": int(share * len(loader))})
        start = time.perf_counter()
        next(iter(loader))
        took[share] = time.perf_counter() - start
    told = ", ".join(f"at {share:.0%} {seconds:.2f} s" for share, seconds in took.items())
    print(f"first batch of an epoch of {SAMPLES:,} samples: {told}")


def main() -> None:
    torch.set_num_threads(1)
    steps()
    resume()


if __name__ == "__main__":
    main()
