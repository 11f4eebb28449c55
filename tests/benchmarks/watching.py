"""What TensorBoard, metrics.jsonl and the progress bar cost a step: ``python -m tests.benchmarks.watching``.

Epochs of LeNet-5 on random pictures, with all of it and with none, in turns. Measured is the time of the processor,
which counts the thread that writes too, and of each kind the least, which other processes disturbed the least.
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
from tests.helpers import make_trainer, small_config

TURNS, STEPS, BATCH = 101, 100, 64


class Terminal(io.TextIOWrapper):
    """A terminal that nobody looks at."""

    def isatty(self) -> bool:
        return True


def make(folder: Path, watched: bool) -> Any:
    config = small_config(folder, tensorboard=watched) | {
        "arch": {"type": "lenet.LeNet"},
        "metrics": ["accuracy"],
    }
    config["data_loader"] = {"type": "DigitsDataLoader"}  # stands in for the one below
    made = make_trainer(config, run_id=str(watched))
    n = STEPS * BATCH
    made.data_loader = BaseDataLoader(
        TensorDataset(torch.rand(n, 1, 28, 28), torch.randint(10, (n,))), BATCH
    )
    made.len_epoch = STEPS
    return made


def seconds(made: Any, epoch: int, watched: bool) -> float:
    """Of an epoch of training, until all that it told is on the disk."""
    start = time.process_time()
    made.epoch, made.place = epoch, 0
    made._begin_epoch(epoch)
    log = made._train_epoch(epoch)
    if watched:
        made._metrics_file.write({"epoch": epoch} | log)
        made.writer.flush()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    sys.stderr = Terminal(open(os.devnull, "wb"))  # noqa: PTH123, SIM115
    progress, least = trainer.trainer.progress, {True: math.inf, False: math.inf}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {watched: make(Path(folder), watched) for watched in (True, False)}
        for turn in range(1, TURNS + 2):
            for watched in (True, False) if turn % 2 else (False, True):
                trainer.trainer.progress = progress if watched else lambda batches, *_: batches
                spent = seconds(trainers[watched], turn, watched)
                if turn > 1:  # the first one also draws the graph
                    least[watched] = min(least[watched], spent)
        for made in trainers.values():
            made.writer.close()
            made._metrics_file.close()
    step, share = 1e3 * least[False] / STEPS, 100 * (least[True] / least[False] - 1)
    print(
        f"a step of LeNet-5 takes {step:.2f} ms; watching it adds {share:.1f} % ({TURNS} turns of {STEPS} steps)"
    )


if __name__ == "__main__":
    main()
