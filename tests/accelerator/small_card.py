"""A device with little memory: ``python -m tests.accelerator.small_card MIB train.py WORDS``."""

from __future__ import annotations

import contextlib
import resource
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.accelerator.device import DEVICE, ON_CPU, ON_SIMULATED, free_memory
from tests.accelerator.simulated import load as simulated


@contextlib.contextmanager
def limited_memory(mib: int) -> Iterator[None]:
    """Inside, this process may use ``mib`` MiB of the device, and no more.

    The CPU in its place lets the process grow by so much. CUDA counts what torch has reserved, and
    the simulated device what it has allocated.
    """
    free_memory()
    if ON_SIMULATED:
        simulated.load().set_memory_limit(mib << 20)
        yield
        simulated.load().set_memory_limit(0)
        return
    if ON_CPU:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        size = pages * resource.getpagesize() + (mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_AS, before)
        return
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (mib << 20) / total), DEVICE)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def main(mib: str, program: str, *words: str) -> None:
    import base.schema  # noqa: F401  (so that the limit is not spent on imports)
    import trainer.trainer  # noqa: F401

    sys.argv = [program, *words]
    with limited_memory(int(mib)):
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
