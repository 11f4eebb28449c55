"""What TensorBoard, metrics.jsonl and the progress bar cost a training step.

Run it with ``python -m tests.benchmarks.watching``. It trains epochs of LeNet-5 on random images,
with all three and with none, in turn. The figures are processor time, which includes the thread
that writes. Of each kind the smallest counts, because other processes disturbed it the least.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

import trainer.trainer
from base import BaseDataLoader
from logger.progress import progress
from tests.helpers import make_trainer, small_config

ROUNDS, STEPS, BATCH_SIZE = 101, 100, 64


class Terminal(io.TextIOWrapper):
    """A file that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def make_lenet_trainer(folder: Path, is_watched: bool) -> Any:
    config = small_config(folder, tensorboard=is_watched)
    config |= {"arch": {"type": "lenet.LeNet"}, "metrics": ["accuracy"]}
    config["data_loader"] = {"type": "DigitsDataLoader"}  # replaced below
    lenet_trainer = make_trainer(config, run_id=str(is_watched))
    size = STEPS * BATCH_SIZE
    dataset = TensorDataset(torch.rand(size, 1, 28, 28), torch.randint(10, (size,)))
    lenet_trainer.data_loader = BaseDataLoader(dataset, BATCH_SIZE)
    lenet_trainer.len_epoch = STEPS
    return lenet_trainer


def measure_epoch(lenet_trainer: Any, epoch: int, is_watched: bool) -> float:
    """Returns the seconds of an epoch, until everything that it logged is on the disk."""
    start = time.process_time()
    lenet_trainer.progress.batch = 0
    lenet_trainer._begin_epoch(epoch)
    log = lenet_trainer._train_epoch(epoch)
    if is_watched:
        step = lenet_trainer.progress.step
        lenet_trainer.run_log.write_epoch({"epoch": epoch} | log, None, step, 0.0)
        lenet_trainer.writer.flush()
    return time.process_time() - start


def skip_progress(batches: Any, *_: Any) -> Any:
    return batches


def main() -> None:
    torch.set_num_threads(1)
    sys.stderr = Terminal(open(os.devnull, "wb"))  # noqa: PTH123, SIM115
    fastest = {True: math.inf, False: math.inf}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            is_watched: make_lenet_trainer(Path(folder), is_watched) for is_watched in (True, False)
        }
        for epoch in range(1, ROUNDS + 2):
            for is_watched in (True, False) if epoch % 2 else (False, True):
                trainer.trainer.progress = progress if is_watched else skip_progress
                seconds = measure_epoch(trainers[is_watched], epoch, is_watched)
                if epoch > 1:  # the first one also writes the graph
                    fastest[is_watched] = min(fastest[is_watched], seconds)
        for lenet_trainer in trainers.values():
            lenet_trainer.run_log.close()
    step_ms, ratio = 1e3 * fastest[False] / STEPS, fastest[True] / fastest[False]
    print(
        f"a step of LeNet-5 takes {step_ms:.2f} ms; watching adds {100 * (ratio - 1):.1f} % "
        f"({ROUNDS} rounds of {STEPS} steps)"
    )


if __name__ == "__main__":
    main()
