"""The processes that train together: who this one is, what they tell each other, and how one that fails ends all.

Alone, a process is rank 0 of 1, and nothing here costs anything. Nothing imports torch before there is company.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from utils.errors import UserError, one_line
from utils.main import user_error_from
from utils.stop import EXIT_STATUS

_LOST = re.compile(r"gloo|NCCL|ProcessGroup|TCPStore|pair closure|DistNetworkError|DistStoreError")
START_SECONDS, TRAINING_SECONDS = (
    300.0,
    120.0,
)  # how long the others are waited for, at the start and later
PATIENCE_SECONDS = 3.0  # for another rank to tell its error, of which ours may be the consequence


class _World:
    """What this process knows of the others."""

    rank, size, local_rank, local_size = 0, 1, 0, 1
    store: Any = None  # of the launcher, which outlives the ranks; their own part of it
    run_store: Any = None  # that of all who come after a restart
    group: Any = None  # whose operations fail after the timeout of training
    seconds = 0.0  # that timeout
    phase = "the start"


_world = _World()


def is_launched() -> bool:
    """Whether torchrun, or ``launch``, has started this process as one of several."""
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


def rank() -> int:
    return _world.rank


def world_size() -> int:
    return _world.size


def local_rank() -> int:
    """Which of this machine's ranks it is."""
    return _world.local_rank


def local_world_size() -> int:
    """The ranks on this machine, which share its cores."""
    return _world.local_size


def is_main() -> bool:
    """Whether this is the rank that writes and tells."""
    return _world.rank == 0


@contextlib.contextmanager
def joined(config: Any) -> Iterator[None]:
    """Makes the launched processes one group inside; a process of its own stays alone.

    An error of one rank ends all: the first to fail tells it, with its rank; the others leave in silence with its
    status. A rank that was killed, or has not answered for the timeout, is named by the others.

    Args:
        config: unchecked yet, as this is where its errors are told once. ``parallel`` says how long the others are
            waited for, ``n_gpu`` whether there will be accelerators.

    Raises:
        UserError: not all came.
    """
    if not is_launched():
        yield
        return
    import torch.distributed as dist

    _world.rank, _world.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _world.local_rank, _world.local_size = (
        int(os.environ["LOCAL_RANK"]),
        int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
    )
    section = config.get("parallel")
    args = section.get("args") if isinstance(section, dict) else None
    times = [("start_timeout_seconds", START_SECONDS), ("timeout_seconds", TRAINING_SECONDS)]
    given = [args.get(name) if isinstance(args, dict) else None for name, _ in times]
    start_seconds, _world.seconds = (
        value if isinstance(value, int | float) and value > 0 else usual
        for value, (_, usual) in zip(given, times, strict=True)
    )
    if not is_main():
        logging.disable(logging.WARNING)  # the main rank tells the same
        warnings.simplefilter("ignore")
    try:
        _meet(config.get("n_gpu", 1), start_seconds)
        yield
        dist.barrier()
    except SystemExit as end:  # asked for, by all of them
        dist.barrier()
        if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) and end.code in EXIT_STATUS.values():
            sys.exit(
                0
            )  # torchrun would take any other status for a failure, and start the ranks again
        raise
    except BaseException as error:
        _fail(error)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for name in (
            "rank",
            "size",
            "local_rank",
            "local_size",
            "store",
            "run_store",
            "group",
            "phase",
        ):
            vars(_world).pop(name, None)


def _meet(n_gpu: int, start_seconds: float) -> None:
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    backend = "gloo"
    if n_gpu and torch.accelerator.device_count() > _world.local_rank:
        kind = torch.accelerator.current_accelerator().type  # type: ignore[union-attr]
        backend = f"cpu:gloo,{kind}:{dist.get_default_backend_for_device(kind)}"
        torch.accelerator.set_device_index(_world.local_rank)
    try:
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by the launcher
        place, patience = (
            (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])),
            timedelta(seconds=start_seconds),
        )
        store = TCPStore(
            *place, is_master=is_main() and not hosted, wait_for_workers=False, timeout=patience
        )
        attempt = os.environ.get(
            "TORCHELASTIC_RESTART_COUNT", "0"
        )  # what those before have left would mislead
        _world.store, _world.run_store = (
            PrefixStore(f"attempt{attempt}", store),
            PrefixStore("run", store),
        )
        meeting = PrefixStore("meeting", _world.store)
        dist.init_process_group(
            backend, store=meeting, rank=_world.rank, world_size=_world.size, timeout=patience
        )
        set_activity("the start")
        _world.group = dist.new_group(timeout=timedelta(seconds=_world.seconds))
    except (RuntimeError, ValueError) as error:
        message = f"not all of the {_world.size} processes came together within {start_seconds:g} s"
        raise UserError(f"parallel: {message}: {one_line(error, 200)}") from None


def set_activity(name: str) -> str:
    """Notes what this rank is about, in case that it is lost in it. Returns what it was about before."""
    before, _world.phase = _world.phase, name
    if _world.store is not None:
        with contextlib.suppress(
            RuntimeError
        ):  # the launcher has gone; the ranks are about to leave
            _world.store.set(f"phase{_world.rank}", f"{socket.gethostname()} {os.getpid()} {name}")
    return before


def all_gather(value: Any) -> list[Any]:
    """The values of all ranks, in their order, on every rank."""
    if _world.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world.size
    dist.all_gather_object(values, value, group=_world.group)
    return values


def broadcast(value: Any) -> Any:
    """The main rank's ``value``, on every rank; it may take its time, as to write a checkpoint."""
    if _world.size == 1:
        return value
    import torch.distributed as dist

    box = [value if is_main() else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_first_local_rank(name: str, value: Any = None) -> Any:
    """What the first rank of this machine tells by giving a ``value``, in JSON's types; the others wait for it."""
    key = f"{name} of rank {_world.rank - _world.local_rank}"
    if value is not None:
        _world.store.set(key, json.dumps(value))
    return json.loads(_world.store.get(key))


def process_group() -> Any:
    """The process group of the training."""
    return _world.group


def barrier() -> None:
    """Waits for all ranks."""
    if _world.size > 1:
        import torch.distributed as dist

        dist.barrier()


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """Lets one rank of each machine go first: it downloads what the others then find."""
    if _world.local_rank:
        barrier()
    yield
    if not _world.local_rank:
        barrier()


class Votes:
    """What any rank wants, known to all one call later, so that nobody waits. All must call alike."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, Any]] = []

    def cast(self, *wants: int, wait: bool = False) -> list[int]:
        """The largest of the ranks' numbers at the call before; with ``wait`` at this one too."""
        import torch
        import torch.distributed as dist

        ballot = torch.tensor(wants)
        work = dist.all_reduce(ballot, dist.ReduceOp.MAX, group=_world.group, async_op=True)
        closed, self._open = self._open, [(ballot, work)]
        if wait:
            closed, self._open = closed + self._open, []
        for _, work in closed:
            work.wait()
        ballots = [ballot.tolist() for ballot, _ in closed] or [[0] * len(wants)]
        return [max(values) for values in zip(*ballots, strict=True)]


def restarted_run_folder(folder: str | None = None) -> str | None:
    """Under torchrun, the run folder that ranks before a restart had made; ``folder`` notes it for those to come."""
    if _world.store is None:
        return None
    if folder is not None:
        _world.run_store.set("folder", folder)
        return folder
    return _world.run_store.get("folder").decode() if _world.run_store.check(["folder"]) else None


def _fail(error: BaseException) -> None:
    """Agrees with the other ranks on who tells what has happened. Raises what this rank is to end with."""
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # the launcher's, which may see another rank's end first
    mistake = user_error_from(error)
    lost = (
        mistake is None
        and isinstance(error, RuntimeError)
        and _LOST.search(f"{type(error)} {error}") is not None
    )
    status = 2 if mistake is not None else 130 if isinstance(error, KeyboardInterrupt) else 1
    told, missing = f"{_world.rank} {status}", ""
    with contextlib.suppress(Exception):  # the launcher has gone, and the store with it
        _world.store.set(f"alive{_world.rank}", "")
        if lost or not is_main():
            end = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < end and not _world.store.check(["failed"]):
                time.sleep(0.05)
        told = _world.store.compare_set("failed", "", told).decode()
        if lost and told == f"{_world.rank} {status}":
            silent = re.search("[Tt]imed out|timeout", str(error))
            missing = _missing(
                f"has not answered for {_world.seconds:g} s" if silent else "is gone"
            )
    if told.split()[0] != str(_world.rank):
        sys.exit(int(told.split()[1]))
    prefix = "" if is_main() else f"rank {_world.rank}: "
    if mistake is not None:
        raise UserError(prefix + str(mistake)) from error
    if lost:
        print(f"{prefix}{missing or one_line(error)}", file=sys.stderr, flush=True)
        sys.exit(1)
    error.add_note(f"on rank {_world.rank}")


def _missing(how: str) -> str:
    """Names the ranks that do not take part in the failing, and ends those of this machine that still run."""
    lines = []
    for other in range(_world.size):
        if _world.store.check([f"alive{other}"]):
            continue
        if not _world.store.check([key := f"phase{other}"]):
            lines.append(f"rank {other} has not come")
            continue
        host, pid, name = _world.store.get(key).decode().split(" ", 2)
        lines.append(f"rank {other} ({host}, process {pid}) {how}, in {name}")
        if host == socket.gethostname():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
    return "\n".join(lines)
