"""A training step of two gloo processes against a DDP loop by hand: ``python -m tests.benchmarks.ddp_step``."""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from base import BaseDataLoader
from model.lenet import LeNet
from tests.helpers import make_trainer, small_config
from tests.ranks import in_ranks
from utils import distributed as parallel

BATCHES, BATCH_SIZE = 60, 128


def batches() -> BaseDataLoader:
    torch.manual_seed(0)
    size = BATCHES * BATCH_SIZE
    return BaseDataLoader(
        torch.utils.data.TensorDataset(torch.rand(size, 1, 28, 28), torch.randint(10, (size,))),
        BATCH_SIZE,
    )


def by_hand(
    loader: BaseDataLoader, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    for images, target in loader:
        loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def measure(folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Seconds an epoch, by hand and by the trainer, alternating."""
    logging.disable(logging.WARNING)
    config = small_config(folder, epochs=1) | {"arch": {"type": "lenet.LeNet"}, "metrics": []}
    config["data_loader"] = {"type": "DigitsDataLoader", "args": {"batch_size": 128}}
    trainer = make_trainer(config)
    model = LeNet()
    trainer.model.module.load_state_dict(model.state_dict())
    loader, seconds = batches(), []
    trainer.data_loader, trainer.len_epoch = loader, len(loader)
    wrapped = DistributedDataParallel(
        model, process_group=parallel.process_group(), gradient_as_bucket_view=True
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(rounds):
        parallel.barrier()
        start = time.perf_counter()
        by_hand(loader, wrapped, optimizer)
        middle = time.perf_counter()
        parallel.barrier()
        again = time.perf_counter()
        trainer.place = 0
        trainer._train_epoch(1)
        seconds.append((middle - start, time.perf_counter() - again))
    return seconds


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        found = in_ranks(2, measure, Path(folder), rounds, timeout=600)[0][2:]
    hand, ours = (statistics.median(pair[index] for pair in found) for index in (0, 1))
    ratio = statistics.median(pair[1] / pair[0] for pair in found)
    print(
        f"by hand {1000 * hand / BATCHES:.2f} ms a step, trainer {1000 * ours / BATCHES:.2f} ms, ratio {ratio:.3f}"
    )
