"""What freezing all but the head saves in a step: ``python -m tests.benchmarks.frozen``. Fresh processes, in turns."""

from __future__ import annotations

import logging
import resource
import statistics
import subprocess
import sys
import time

import torch
import torchvision
from torch import nn

from base.transfer.options import Head, TransferOptions
from base.transfer.transfer import Transfer
from tests.helpers import ROOT

ROUNDS, STEPS, BATCH = 5, 12, 16
MODELS = ("squeezenet1_0", "resnet18", "mobilenet_v2")


def peak() -> float:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def steps(name: str, freeze: str | None) -> None:
    """Prints seconds a step, and MiB that the steps took beyond the model."""
    torch.set_num_threads(1)
    model = getattr(torchvision.models, name)()
    options = TransferOptions(head=Head(num_classes=2), freeze=freeze)
    transfer = Transfer(options, logging.getLogger("frozen"))
    transfer.prepare_model(model, None, resuming=False)
    optimizer = torch.optim.SGD(transfer.parameter_groups(model, 1e-3), lr=1e-3)
    images, target = torch.randn(BATCH, 3, 224, 224), torch.zeros(BATCH, dtype=torch.int64)
    model.train()
    before, seconds = peak(), []
    for _ in range(STEPS):
        start = time.perf_counter()
        nn.functional.cross_entropy(model(images), target).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds[2:]), peak() - before)


def main() -> None:
    for name in MODELS:
        rows: dict[str, list[list[float]]] = {"None": [], "'all_but_head'": []}
        for _ in range(ROUNDS):
            for freeze, row in rows.items():
                code = f"from tests.benchmarks.frozen import steps; steps('{name}', {freeze})"
                done = subprocess.run(
                    [sys.executable, "-c", code],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                row.append([float(word) for word in done.stdout.split()])
        (full, all_of_it), (frozen, part) = (
            [statistics.median(column) for column in zip(*row, strict=True)]
            for row in rows.values()
        )
        print(
            f"{name:14} a step {full * 1000:.0f} ms, frozen {frozen * 1000:.0f} ms: {frozen / full:.2f}; "
            f"memory {all_of_it:.0f} MiB, frozen {part:.0f} MiB: {part / all_of_it:.2f}"
        )


if __name__ == "__main__":
    main()
