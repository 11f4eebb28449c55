"""What a step saves when everything but the head is frozen: ``python -m tests.benchmarks.frozen``.

Each measurement is a new process, and the arms alternate.
"""

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

ROUNDS, STEPS, BATCH_SIZE, WARM_UP_STEPS = 5, 12, 16, 2
MODELS = ("squeezenet1_0", "resnet18", "mobilenet_v2")


def get_peak_mib() -> float:
    """Returns the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, freeze: str | None) -> None:
    """Prints the seconds of a step, and the MiB that the steps needed beyond the model."""
    torch.set_num_threads(1)
    model = getattr(torchvision.models, name)()
    options = TransferOptions(head=Head(num_classes=2), freeze=freeze)
    transfer = Transfer(options, logging.getLogger("frozen"))
    transfer.prepare_model(model, None, resuming=False)
    optimizer = torch.optim.SGD(transfer.parameter_groups(model, 1e-3), lr=1e-3)
    images = torch.randn(BATCH_SIZE, 3, 224, 224)
    target = torch.zeros(BATCH_SIZE, dtype=torch.int64)
    model.train()
    before, seconds = get_peak_mib(), []
    for _ in range(STEPS):
        start = time.perf_counter()
        nn.functional.cross_entropy(model(images), target).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds[WARM_UP_STEPS:]), get_peak_mib() - before)


def measure_in_process(name: str, freeze: str | None) -> tuple[float, float]:
    code = f"from tests.benchmarks.frozen import measure; measure({name!r}, {freeze!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, mib = done.stdout.split()
    return float(seconds), float(mib)


def main() -> None:
    for name in MODELS:
        full, frozen = [], []
        for _ in range(ROUNDS):
            full.append(measure_in_process(name, None))
            frozen.append(measure_in_process(name, "all_but_head"))
        seconds, mib = (statistics.median(column) for column in zip(*full, strict=True))
        frozen_seconds, frozen_mib = (
            statistics.median(column) for column in zip(*frozen, strict=True)
        )
        print(
            f"{name:14} a step {seconds * 1000:.0f} ms, frozen {frozen_seconds * 1000:.0f} ms: "
            f"{frozen_seconds / seconds:.2f}; memory {mib:.0f} MiB, frozen {frozen_mib:.0f} MiB: "
            f"{frozen_mib / mib:.2f}"
        )


if __name__ == "__main__":
    main()
