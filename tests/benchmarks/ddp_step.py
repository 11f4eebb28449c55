"""A training step in two gloo processes, beside a DDP loop written by hand.

Run it with ``python -m tests.benchmarks.ddp_step [ROUNDS]``.
"""

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
from utils.distributed import barrier, process_group

NUM_BATCHES, BATCH_SIZE, ROUNDS, WARM_UP_ROUNDS = 60, 128, 15, 2


def make_loader() -> BaseDataLoader:
    torch.manual_seed(0)
    size = NUM_BATCHES * BATCH_SIZE
    images, target = torch.rand(size, 1, 28, 28), torch.randint(10, (size,))
    return BaseDataLoader(torch.utils.data.TensorDataset(images, target), BATCH_SIZE)


def train_by_hand(
    loader: BaseDataLoader, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    for images, target in loader:
        loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def measure(folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Returns the seconds of an epoch by hand and by the trainer, for each round."""
    logging.disable(logging.WARNING)
    config = small_config(folder, epochs=1) | {"arch": {"type": "lenet.LeNet"}, "metrics": []}
    config["data_loader"] = {"type": "DigitsDataLoader", "args": {"batch_size": 128}}
    trainer = make_trainer(config)
    model = LeNet()
    trainer.model.module.load_state_dict(model.state_dict())
    loader = make_loader()
    trainer.data_loader, trainer.len_epoch = loader, len(loader)
    wrapped = DistributedDataParallel(
        model, process_group=process_group(), gradient_as_bucket_view=True
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    seconds = []
    for _ in range(rounds):
        barrier()
        start = time.perf_counter()
        train_by_hand(loader, wrapped, optimizer)
        by_hand = time.perf_counter() - start
        barrier()
        start = time.perf_counter()
        trainer.progress.batch = 0
        trainer._train_epoch(1)
        seconds.append((by_hand, time.perf_counter() - start))
    return seconds


def main(rounds: int = ROUNDS) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = in_ranks(2, measure, Path(folder), rounds, timeout=600)
    measured = results[0][WARM_UP_ROUNDS:]
    by_hand, ours = (statistics.median(pair[index] for pair in measured) for index in (0, 1))
    ratio = statistics.median(pair[1] / pair[0] for pair in measured)
    print(
        f"by hand {1000 * by_hand / NUM_BATCHES:.2f} ms a step, "
        f"trainer {1000 * ours / NUM_BATCHES:.2f} ms, ratio {ratio:.3f}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
