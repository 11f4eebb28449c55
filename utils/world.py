"""Which process this is among those that train together, and where the others are."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup, Store  # type: ignore[attr-defined]


START_TIMEOUT_SECONDS = 300.0
TIMEOUT_SECONDS = 120.0


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
        if self.store is None:
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
