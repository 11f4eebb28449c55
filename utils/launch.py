"""Starting the processes of a run on this machine, for a config that asks for more than one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from utils.distributed import is_launched, joined


@dataclass(frozen=True)
class ProcessSettings:
    """How many processes a run wants on this machine, and how long they wait for each other.

    Attributes:
        num_processes: None for one on each accelerator that ``n_gpu`` allows.
        n_gpu: how many accelerators the run may use.
        start_timeout_seconds: for all processes to start.
        timeout_seconds: for an answer during training.
    """

    num_processes: int | None = 1
    n_gpu: int = 1
    start_timeout_seconds: float = 300.0
    timeout_seconds: float = 120.0


def run_ranks(config: Any, main: Callable[[Any], None]) -> None:
    """Calls ``main(config)`` in as many processes as the config wants, joined; in this one if it is enough."""
    if (processes := processes_wanted(config)) > 1:
        sys.exit(launch(processes))
    with joined(config):
        main(config)


def processes_wanted(config: Any) -> int:
    """How many to start; 1 if this process is enough, or is one of those.

    Args:
        config: as it stands there: nothing was checked yet, and torch is not imported.
    """
    section, n_gpu = config.get("parallel") or {}, config.get("n_gpu")
    if not isinstance(section, dict) or config.args.check or config.args.find_batch_size:
        return 1
    kind, args = section.get("type", "ddp"), section.get("args")
    number = args.get("num_processes") if isinstance(args, dict) else None
    if is_launched() or kind not in ("ddp", "fsdp"):
        return 1
    if number is None and type(n_gpu) is int and n_gpu > 1:
        import torch

        number = min(n_gpu, torch.accelerator.device_count())
    return number if type(number) is int and 1 < number <= max_processes() else 1


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def max_processes() -> int:
    """More than this on one machine is a slip of the hand."""
    return max(16, 2 * (os.cpu_count() or 1))


def launch(processes: int) -> int:
    """Runs this very command in so many processes, by torch's launcher, until all have ended. Returns its status.

    Signals go to all of them. They are told a store of this process for their meeting, which outlives each of them.
    """
    import logging

    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes

    logging.getLogger("torch.distributed.elastic").setLevel(
        logging.CRITICAL
    )  # the ranks tell what was wrong
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared["OMP_NUM_THREADS"] = os.environ.get(
        "OMP_NUM_THREADS", str(max(1, num_cores() // processes))
    )
    ranks = range(processes)
    context = start_processes(
        "train",
        sys.executable,
        args={rank: tuple(sys.orig_argv[1:]) for rank in ranks},
        envs={rank: shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks},
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )

    def hand_on(number: int, _frame: Any) -> None:
        for pid in context.pids().values():
            os.kill(pid, number)

    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), hand_on)
    result = context.wait(period=0.05)
    assert result is not None
    codes = [failure.exitcode for failure in result.failures.values()]
    told = [code for code in codes if code > 0]
    return max(told) if told else max((128 - code for code in codes), default=0)
