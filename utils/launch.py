"""Starts the processes of a run on this machine.

One command becomes several ranks: ``num_processes_to_launch`` says how many a run needs, and
``launch`` runs this command again in each of them. A process that torchrun started needs no launch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType

from utils.stop import EXIT_STATUS
from utils.world import LAUNCHER_PID, ProcessSettings, is_launched

FORWARDED_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


def num_processes_to_launch(settings: ProcessSettings) -> int:
    """The number of processes to start, or 1 if this process is enough.

    It is also 1 in a launched process. A number outside of 1 to ``max_processes()`` counts as 1,
    because the later check of the config refuses it, and one process is enough for the check.
    """
    if is_launched():
        return 1
    number = settings.num_processes
    if number is None:
        number = _num_accelerators(settings.n_gpu)
    return number if 1 < number <= max_processes() else 1


def _num_accelerators(limit: int) -> int:
    if limit <= 1:
        return limit
    import torch

    return min(limit, torch.accelerator.device_count())


def num_cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def max_processes() -> int:
    """The most processes that a config may ask for on this machine. A larger number is a typo."""
    return max(16, 2 * (os.cpu_count() or 1))


def launch(num_processes: int) -> int:
    """Runs this command again in ``num_processes`` processes and waits until all have ended.

    torch's launcher starts the processes, and ends the others when one fails. This process forwards
    its signals to all of them. It also holds their key-value store, so the store outlives each one.

    Returns:
        The exit status of the run: 0 if no process failed.
    """
    import logging

    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes

    # The ranks report their errors. The launcher would log a traceback in addition.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = _make_environment(num_processes, store.port)
    ranks = range(num_processes)
    received: list[int] = []
    pids: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended before the others
                os.kill(pid, number)

    _handle_signals(forward)
    context = start_processes(
        "train",
        sys.executable,
        args={rank: tuple(sys.orig_argv[1:]) for rank in ranks},
        envs={rank: environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks},
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )
    _handle_signals(forward)  # the launcher has put its own handlers in their place
    pids += context.pids().values()
    for number in tuple(received):  # while the processes were started
        forward(number, None)
    result = context.wait(period=0.05)
    assert result is not None  # without a timeout, it waits for the end
    status = get_exit_status(failure.exitcode for failure in result.failures.values())
    if received and status in (128 + received[0], 128 + signal.SIGTERM):
        # The signal has ended a rank that had no handler yet, and the launcher the others.
        return EXIT_STATUS.get(signal.Signals(received[0]).name, status)
    return status


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for name in FORWARDED_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


def _make_environment(num_processes: int, port: int) -> dict[str, str]:
    """The environment variables that are the same in all ranks, as torchrun sets them."""
    num_threads = max(1, num_cores() // num_processes)
    return {
        LAUNCHER_PID: str(os.getpid()),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store exists; no rank has to make it
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(num_threads)),
    }


def get_exit_status(exit_codes: Iterable[int]) -> int:
    """The status for the failed processes' exit codes, which are negative after a signal.

    A failure decides first, then a stop, then a signal: if one process fails, the launcher ends the
    others by signals.
    """
    codes = list(exit_codes)
    failures = [code for code in codes if code > 0 and code not in EXIT_STATUS.values()]
    stops = [code for code in codes if code > 0]
    by_signal = [128 - code for code in codes]
    return max(failures or stops or by_signal, default=0)
