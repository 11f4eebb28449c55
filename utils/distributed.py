"""The processes that train together, and what they exchange.

A process that trains by itself is rank 0 of 1. The functions then return at once, and do not import
torch.

Who is who: torchrun or ``utils.launch`` starts ``world_size()`` processes. ``rank()`` numbers all
of them, ``local_rank()`` those of one machine, both from 0. Rank 0 is the main process, which
writes files and log lines for all.

What they exchange:

- tensors, such as gradients, through ``process_group()``;
- small Python objects, by ``all_gather`` and ``broadcast``;
- requests to stop, by ``Votes``;
- short texts in the launcher's key-value store, which outlives the ranks: what each rank is doing,
  which rank failed first, and the run's folder for ranks that torchrun starts again.

How a failure of one rank ends all of them: see ``utils/failure.py``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from utils.errors import UserError, one_line
from utils.log import mute
from utils.world import ProcessSettings, World, end_if_launcher_is_lost, is_launched, watch_launcher

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup, Work

T = TypeVar("T")

_world = World()


def rank() -> int:
    """The number of this process among all that train together."""
    return _world.rank


def world_size() -> int:
    """The number of processes that train together."""
    return _world.size


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return _world.local_rank


def local_world_size() -> int:
    """The number of processes on this machine, which divide its cores among themselves."""
    return _world.local_size


def is_main() -> bool:
    """Whether this is the process that writes files and log lines."""
    return _world.rank == 0


def process_group() -> ProcessGroup:
    """The process group of the training. Only processes that were launched have one."""
    assert _world.group is not None
    return _world.group


@contextlib.contextmanager
def init_distributed(settings: ProcessSettings) -> Iterator[None]:
    """Connects a launched process with the others while the context lasts.

    A process that was not launched needs no connection and gets none.

    An error of one rank ends all of them. The rank that failed first reports its error, with its
    number; the others end silently with the same exit status. If a rank was killed or does not
    answer in time, another one reports where it was.

    Raises:
        UserError: not all processes have connected in time.
    """
    global _world
    if not is_launched():
        yield
        return
    watch_launcher()  # before the slow import
    import torch.distributed as dist

    _world = World.from_environment(settings.timeout_seconds)
    if not is_main():  # the main process logs the same
        mute(logging.WARNING)
        warnings.simplefilter("ignore")
    try:
        _connect(settings)
        yield
        dist.barrier()
    except SystemExit as end:
        from utils.failure import end_rank

        end_rank(end, _world)
    except BaseException as error:
        from utils.failure import report_failure

        report_failure(error, _world)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        _world = World()


def _connect(settings: ProcessSettings) -> None:
    """Connects this process with the launcher's store and with the other ranks."""
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    backend = _choose_backend(settings.n_gpu)
    has_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # the launcher's
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=is_main() and not has_store,
            wait_for_workers=False,
            timeout=settings.start_timeout,
        )
        # Keys from before a restart would mislead the ranks after it.
        _world.store = PrefixStore(f"attempt{attempt}", store)
        _world.run_store = PrefixStore("run", store)
        dist.init_process_group(
            backend,
            store=PrefixStore("init", _world.store),
            rank=_world.rank,
            world_size=_world.size,
            timeout=settings.start_timeout,
        )
        _world.publish_activity()
        group = dist.new_group(timeout=settings.timeout)
        assert isinstance(group, dist.ProcessGroup)  # all ranks are members
        _world.group = group
    except (RuntimeError, ValueError) as error:
        end_if_launcher_is_lost(wait=True)
        raise UserError(
            f"not all of the {_world.size} processes have connected within "
            f"{settings.start_timeout_seconds:g} s: {one_line(error, 200)}",
            key="parallel",
        ) from None


def _choose_backend(n_gpu: int) -> str:
    """gloo for tensors on the CPU, and the accelerator's backend for tensors on its devices."""
    import torch
    import torch.distributed as dist

    if n_gpu <= 0 or torch.accelerator.device_count() <= _world.local_rank:
        return "gloo"
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None  # there are some
    torch.accelerator.set_device_index(_world.local_rank)
    kind = accelerator.type
    return f"cpu:gloo,{kind}:{dist.get_default_backend_for_device(kind)}"


def set_activity(name: str) -> str:
    """Publishes what this rank does from now on. If it is lost, the others report where.

    Returns:
        The activity before.
    """
    previous = _world.activity
    _world.activity = name
    _world.publish_activity()
    return previous


def all_gather(value: T) -> list[T]:
    """The values of all ranks, in the order of the ranks, on every rank."""
    if _world.size == 1:
        return [value]
    import torch.distributed as dist

    from utils.messages import pack

    values: list[Any] = [None] * _world.size
    dist.all_gather_object(values, pack(value), group=_world.group)
    return list(map(pickle.loads, values))


def broadcast(value: T | None) -> T:
    """The main process's ``value``, on every rank. The values of the others are ignored.

    They wait for ``start_timeout_seconds``, because the main process may write a checkpoint first.
    """
    if _world.size == 1:
        return cast("T", value)
    import torch.distributed as dist

    from utils.messages import pack

    values = [pack(value) if _world.rank == 0 else b""]
    dist.broadcast_object_list(values, src=0)
    return cast("T", pickle.loads(values[0]))


def send_to_local_ranks(name: str, value: Any) -> None:
    """Sends a value of JSON's types from the first rank of this machine to its other ranks."""
    assert _world.store is not None
    _world.store.set(_make_local_key(name), json.dumps(value))


def receive_from_first_local_rank(name: str) -> Any:
    """The value that the first rank of this machine sends under ``name``. Waits for it."""
    assert _world.store is not None
    return json.loads(_world.store.get(_make_local_key(name)))


def _make_local_key(name: str) -> str:
    """A key that is the same for all ranks of this machine, and different on other machines."""
    return f"{name} of rank {_world.rank - _world.local_rank}"


def barrier() -> None:
    """Waits for all ranks."""
    if _world.size > 1:
        import torch.distributed as dist

        dist.barrier()


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """Lets the first rank of each machine go first, so that the others reuse its downloads."""
    if _world.local_rank:
        barrier()
    yield
    if not _world.local_rank:
        barrier()


class Votes:
    """Finds the largest numbers that any rank votes for. All ranks know them one call later.

    Because of this delay, no rank waits for another. All ranks must make the same calls.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Tensor, Work]] = []

    def cast(self, *numbers: int, wait: bool = False) -> list[int]:
        """Votes for ``numbers``.

        Args:
            numbers: each is compared with the other ranks' number at the same position.
            wait: also wait for the result of this call.

        Returns:
            For each position, the ranks' maximum in the call before, and in this one if ``wait``.
        """
        import torch
        import torch.distributed as dist

        ballot = torch.tensor(numbers)
        work = dist.all_reduce(ballot, dist.ReduceOp.MAX, group=_world.group, async_op=True)
        counted = self._pending
        self._pending = [(ballot, work)]
        if wait:
            counted = counted + self._pending
            self._pending = []
        maxima = [0] * len(numbers)
        for ballot, work in counted:
            work.wait()
            maxima = [max(pair) for pair in zip(maxima, ballot.tolist(), strict=True)]
        return maxima


def get_restarted_run_folder() -> str | None:
    """The run folder of the ranks before a restart by torchrun; None if there was no restart."""
    if _world.run_store is None or not _world.run_store.check(["folder"]):
        return None
    return _world.run_store.get("folder").decode()


def set_run_folder(folder: str) -> None:
    """Notes the run folder for ranks that torchrun may start after these."""
    if _world.run_store is not None:
        _world.run_store.set("folder", folder)
