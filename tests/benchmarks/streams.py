"""Resumes a stream of 1,000,000 samples at 90 %: ``python -m tests.benchmarks.streams``."""

from __future__ import annotations

import time
from typing import Any

import torch

from base import BaseDataLoader
from tests.base.data.streams import ByWorker, Stateful

N_SAMPLES, BATCH_SIZE = 1_000_000, 100


def measure(stream: type[ByWorker], num_workers: int) -> float:
    """The seconds from the start of the pass to its first batch after 90 % of the samples."""
    torch.manual_seed(1)
    done = N_SAMPLES * 9 // 10 // BATCH_SIZE
    loader = BaseDataLoader(stream(N_SAMPLES), BATCH_SIZE, num_workers=num_workers)
    batches = iter(loader)
    for _ in range(done):
        next(batches)
    state: Any = loader.state_dict()
    resumed = BaseDataLoader(stream(N_SAMPLES), BATCH_SIZE, num_workers=num_workers)
    resumed.load_state_dict(state)
    start = time.perf_counter()
    next(iter(resumed))
    return time.perf_counter() - start


if __name__ == "__main__":
    for stream in (Stateful, ByWorker):
        for num_workers in (0, 2):
            seconds = measure(stream, num_workers)
            print(f"{stream.__name__:<10} {num_workers} workers: {seconds:7.2f} s")
