"""What happens when a process fails: what the user reads, and how all ranks end.

``user_error_from`` finds what the user can do about an error. ``report_failure`` ends a rank:

1. Each failing rank offers its number and exit status to the launcher's store, which keeps the
   first ones. A rank that has only lost the connection to another one waits a moment before that,
   so that the other can report the cause.
2. The first rank reports its error. All others end silently with the same exit status.
3. If the first rank has only lost a connection, it names the ranks that are missing, with their
   host, process and last activity. It kills those that hang on its machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

from utils.errors import UserError, is_out_of_memory, one_line, text_of
from utils.known_errors import KNOWN_ERRORS, LOSS_TAKES_TENSORS
from utils.stop import EXIT_STATUS, StopProgram
from utils.world import end_if_launcher_is_lost

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

    from utils.world import World

MODEL_CALL = "base/loop/evaluate.py"  # whose function `forward` calls the model
READERS = "/base/data/"  # which read samples
PATIENCE_SECONDS = 3.0  # to wait for another rank, whose error may be the cause of this one's
LOST_CONNECTION = re.compile(
    "gloo|NCCL|ProcessGroup|TCPStore|pair closure|DistNetworkError|DistStoreError"
)


def user_error_from(error: BaseException) -> UserError | None:
    """What the user can do about an error; None if it is a bug."""
    if isinstance(error, UserError):
        # torch gives an error of a loader's worker the worker's traceback as its text.
        _, is_from_worker, text = str(error).rpartition("utils.errors.UserError: ")
        return UserError(text.strip()) if is_from_worker else error
    frames = traceback.extract_tb(error.__traceback__)
    is_in_model = any(f.name == "forward" and f.filename.endswith(MODEL_CALL) for f in frames)
    is_outside_loss = is_in_model or any(READERS in frame.filename for frame in frames)
    for known in KNOWN_ERRORS:
        if is_outside_loss and known.key.startswith("loss"):
            continue
        if isinstance(error, known.kind) and re.search(known.pattern, text_of(error)):
            return UserError(known.advice.format(one_line(error)), key=known.key)
    is_of_torch = bool(frames) and frames[-1].filename.endswith("nn/functional.py")
    if isinstance(error, AttributeError) and is_of_torch and not is_outside_loss:
        return UserError(LOSS_TAKES_TENSORS.format(one_line(error)), key="loss")
    if _is_lost_worker(error):
        known = KNOWN_ERRORS[0]
        return UserError(known.advice.format(one_line(error)), key=known.key)
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return UserError(
            "out of memory: lower the batch_size of the data loader (in training, a larger "
            "trainer.accumulation_steps makes up for it), or set trainer.precision: bf16; "
            f"{one_line(error, 400)}"
        )
    return None


def _is_lost_worker(error: BaseException) -> bool:
    """Whether a loader's worker has ended while this process fetched a tensor from it."""
    functions = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    return isinstance(error, ConnectionError | EOFError) and "rebuild_storage_fd" in functions


def end_rank(end: SystemExit, world: World) -> NoReturn:
    """Ends this rank with the others, on a request to stop.

    Raises:
        SystemExit: always. The status is that of the first rank that ended, or 0 for torchrun.
    """
    import torch.distributed as dist

    try:
        if isinstance(end, StopProgram):  # the other ranks may not know of the signal
            report_failure(end, world)
        else:
            dist.barrier()  # all ranks have agreed to leave
    except SystemExit as other:
        end = other
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) and end.code in EXIT_STATUS.values():
        # torchrun takes any other status for a failure and starts the ranks again.
        sys.exit(0)
    raise end


def report_failure(error: BaseException, world: World) -> None:
    """Ends this rank after ``error``, together with the others (see the module's docstring).

    If it returns, this rank must end with ``error`` itself: the caller raises it again.

    Raises:
        UserError: what the user can do about the error, with the number of this rank.
        SystemExit: another rank reports, or this one has reported that others are lost.
    """
    # The launcher sends SIGTERM when it sees another rank end. This one is already ending.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    user_error = user_error_from(error)
    connection_lost = user_error is None and _is_lost_connection(error)
    if connection_lost:
        end_if_launcher_is_lost()
    status = _get_exit_status(error, user_error)
    first_rank, first_status = world.rank, status
    missing = ""
    if world.store is not None:
        with contextlib.suppress(Exception):  # the launcher has gone, and the store with it
            world.store.set(f"failing{world.rank}", "")
            if connection_lost or world.rank != 0:
                _wait_for_another_failure(world.store)
            first = world.store.compare_set("failed", "", f"{world.rank} {status}").decode()
            first_rank, first_status = map(int, first.split())
            if connection_lost and first_rank == world.rank:
                missing = _end_missing_ranks(world, error)
    if first_rank != world.rank:
        sys.exit(first_status)
    prefix = f"rank {world.rank}: " if world.rank else ""
    if connection_lost:
        if not missing:  # the store has not answered
            end_if_launcher_is_lost(wait=True)
        print(f"{prefix}{missing or one_line(error)}", file=sys.stderr, flush=True)
        sys.exit(status)
    if user_error is None:
        error.add_note(f"on rank {world.rank}")
    elif prefix:
        raise UserError(f"{prefix}{user_error}") from error
    elif user_error is not error:
        raise user_error from error


def _is_lost_connection(error: BaseException) -> bool:
    """Whether torch has lost another rank, which is then the cause of the error."""
    text = f"{type(error)} {text_of(error)}"
    return isinstance(error, RuntimeError) and LOST_CONNECTION.search(text) is not None


def _get_exit_status(error: BaseException, user_error: UserError | None) -> int:
    if user_error is not None:
        return 2
    if isinstance(error, StopProgram):
        return error.status
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _wait_for_another_failure(store: Store) -> None:
    """Waits a moment for another rank to report."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and not store.check(["failed"]):
        time.sleep(0.05)


def _end_missing_ranks(world: World, error: BaseException) -> str:
    """Kills the ranks on this machine that hang, and describes all ranks that are missing.

    A rank is missing if it does not run ``report_failure`` too.
    """
    assert world.store is not None
    timed_out = re.search("[Tt]imed out|timeout", text_of(error))
    reason = f"has not answered for {world.timeout_seconds:g} s" if timed_out else "is gone"
    lines = []
    for rank in range(world.size):
        if world.store.check([f"failing{rank}"]):
            continue
        location = world.find_location(rank)
        if location is None:
            lines.append(f"rank {rank} has not connected")
            continue
        host, pid, activity = location
        lines.append(f"rank {rank} ({host}, process {pid}) {reason}, in {activity}")
        if host == socket.gethostname():
            with contextlib.suppress(OSError):  # it has ended
                os.kill(pid, signal.SIGKILL)
    return "\n".join(lines)
