"""Which process this is among those that train together, and where the others are.

A rank whose launcher is gone, for example after ``kill -9``, gets no signal any more. Before the
training, it would wait for the others up to the timeout. While torch waits, Python runs no signal
handler, so a thread looks after the launcher and ends the rank. A training loop, which can save
first, takes over from the thread (see ``utils/stop.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup, Store  # type: ignore[attr-defined]


START_TIMEOUT_SECONDS = 300.0
TIMEOUT_SECONDS = 120.0
MAX_TIMEOUT_SECONDS = 1e9  # 30 years; longer durations overflow
LAUNCHER_PID = "PLAINLOOP_LAUNCHER_PID"  # an environment variable that ``utils.launch`` sets
TORCHRUN_ID = "TORCHELASTIC_RUN_ID"  # one that torchrun sets
LOST_LAUNCHER = "the end of the launcher"
LOST_LAUNCHER_STATUS = 143  # as after SIGTERM, which the launcher would have sent
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 1.0  # the sockets of a killed process close before it loses its children

# Noted early. Our launcher may be gone already; torchrun does not tell its process id.
_launcher_pid = int(os.environ.get(LAUNCHER_PID, os.getppid()))
_is_watching = threading.Event()


@dataclass(frozen=True)
class ProcessSettings:
    """How many processes a run uses on this machine, and how long they wait for each other.

    Attributes:
        num_processes: processes on this machine; None for one on each accelerator that ``n_gpu``
            allows.
        n_gpu: the number of accelerators that the run may use; 0 for the CPU.
        start_timeout_seconds: how long a process waits for the others at the start, while they read
            their data, and while the main process writes a checkpoint.
        timeout_seconds: how long a process waits for the others during training.
    """

    num_processes: int | None = 1
    n_gpu: int = 1
    start_timeout_seconds: float = START_TIMEOUT_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    @property
    def start_timeout(self) -> timedelta:
        """``start_timeout_seconds``, as torch takes it."""
        return timedelta(seconds=min(self.start_timeout_seconds, MAX_TIMEOUT_SECONDS))

    @property
    def timeout(self) -> timedelta:
        """``timeout_seconds``, as torch takes it."""
        return timedelta(seconds=min(self.timeout_seconds, MAX_TIMEOUT_SECONDS))


def is_launched() -> bool:
    """Whether torchrun or ``launch`` has started this process as one of several."""
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


class Location(NamedTuple):
    """Where a rank runs, and what it is doing, such as ``the training of epoch 3``."""

    host: str
    pid: int
    activity: str


@dataclass
class World:
    """The number of this process, and its connections to the other ranks.

    Attributes:
        rank: the number of this process among all.
        size: the number of all processes.
        local_rank: the number of this process among those of its machine.
        local_size: the number of processes on this machine.
        timeout_seconds: how long an operation of ``group`` waits for the other ranks.
        activity: what this rank is doing.
        store: the launcher's store, for keys that are void after a restart.
        run_store: the launcher's store, for keys that ranks read after a restart.
        group: the process group of the training.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    timeout_seconds: float = 0.0
    activity: str = "the start"
    store: Store | None = None
    run_store: Store | None = None
    group: ProcessGroup | None = None

    @classmethod
    def from_environment(cls, timeout_seconds: float) -> World:
        """Reads what the launcher has set for this process. The connections are made later."""
        return cls(
            rank=int(os.environ["RANK"]),
            size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
            local_size=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            timeout_seconds=timeout_seconds,
        )

    def publish_activity(self) -> None:
        """Publishes the location of this rank, which the others report if it is lost."""
        if self.store is None or has_lost_launcher():  # torch would log an error of the store
            return
        location = Location(socket.gethostname(), os.getpid(), self.activity)
        # An error means that the launcher has ended. Then the ranks are about to end too.
        with contextlib.suppress(RuntimeError):
            self.store.set(f"location{self.rank}", json.dumps(location))

    def find_location(self, rank: int) -> Location | None:
        """The last published location of a rank, or None if it has not connected yet."""
        key = f"location{rank}"
        if self.store is None or not self.store.check([key]):
            return None
        return Location(*json.loads(self.store.get(key)))


# -- the launcher ----------------------------------------------------------------------------------


def _note_parent() -> None:
    global _launcher_pid
    _launcher_pid = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_parent)


def has_lost_launcher() -> bool:
    """Whether the launcher that has started this process is gone.

    A rank that was started by hand has none: its parent is a shell, which may end before it.
    Windows does not tell.
    """
    if os.getppid() == _launcher_pid or os.name != "posix":
        return False
    return LAUNCHER_PID in os.environ or TORCHRUN_ID in os.environ


def end_if_launcher_is_lost(wait: bool = False) -> None:
    """Ends this process at once if the launcher is gone.

    The main thread may wait in torch, where no exception reaches it.

    Args:
        wait: after an error of the launcher's store, which is the first sign of its end.
    """
    end = time.monotonic() + (PATIENCE_SECONDS if wait else 0.0)
    while not has_lost_launcher():
        if time.monotonic() >= end:
            return
        time.sleep(0.01)
    if os.environ.get("LOCAL_RANK") == "0":
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(f"stopped by {LOST_LAUNCHER}", file=sys.stderr, flush=True)
    os._exit(LOST_LAUNCHER_STATUS)


def watch_launcher() -> None:
    """Lets a thread end this process when the launcher is gone, until ``stop_watching``."""
    _is_watching.set()
    threading.Thread(target=_watch, name="launcher watch", daemon=True).start()


def stop_watching() -> None:
    """Leaves the watch to a training loop."""
    _is_watching.clear()


def _watch() -> None:
    while _is_watching.is_set():
        end_if_launcher_is_lost()
        time.sleep(POLL_SECONDS)
