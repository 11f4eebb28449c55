"""Several ranks on this machine for the tests: forked functions, and whole programs whose end is certain."""

from __future__ import annotations

import atexit
import faulthandler
import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import ROOT
from utils import distributed as parallel

# Makes the stores where ranks meet, in a process of its own: a store's threads do not bear the forking of others.
STORES = """
import sys, torch.distributed
for line in sys.stdin:
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    print(store.port, flush=True)
"""


@functools.cache
def store_maker() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STORES]
    maker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    atexit.register(maker.kill)
    return maker


def new_store() -> int:
    """The port of a store that nobody has used."""
    maker = store_maker()
    assert maker.stdin is not None
    assert maker.stdout is not None
    maker.stdin.write("\n")
    return int(maker.stdout.readline())


def in_ranks(
    count: int, function: Callable[..., Any], *args: Any, timeout: float = 15, **section: Any
) -> list[Any]:
    """What ``function(*args)`` returns in each of ``count`` joined ranks, forked from here.

    Args:
        section: ``parallel.args``.

    Raises:
        AssertionError: a rank failed, with its traceback, or did not end in time; none is left.
    """
    fork = multiprocessing.get_context("fork")
    port = new_store()
    pipes, processes = [], []
    for rank in range(count):
        here, there = fork.Pipe(duplex=False)
        process = fork.Process(
            target=_rank, args=(rank, count, port, section, there, function, args, timeout)
        )
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    end, results = time.monotonic() + timeout, []
    try:
        for rank, pipe in enumerate(pipes):
            assert pipe.poll(max(0.0, end - time.monotonic())), f"rank {rank} of {count} hangs"
            results.append(pipe.recv())
    finally:
        for process in processes:
            process.join(max(0.1, min(10.0, end - time.monotonic())))
            process.kill()
    failed = [text for ok, text in results if not ok]
    assert not failed, "\n".join(failed)
    return [value for _, value in results]


def _rank(
    rank: int,
    count: int,
    port: int,
    section: Any,
    pipe: Any,
    function: Any,
    args: Any,
    timeout: float,
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    logging.getLogger().handlers.clear()
    faulthandler.dump_traceback_later(timeout - 1, file=sys.__stderr__)  # of one that hangs
    try:
        with parallel.joined({"n_gpu": 0, "parallel": {"args": {"timeout_seconds": 30} | section}}):
            pipe.send((True, function(*args)))
    except BaseException:
        pipe.send((False, f"rank {rank}: {traceback.format_exc()}"))
    finally:
        os._exit(0)


class Ended(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float


class Program:
    """A command with all that it starts; ``end`` leaves nothing of it. ``before`` are the words that run it."""

    def __init__(
        self,
        *words: object,
        cwd: Path = ROOT,
        torchrun: str = "",
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        command = [*before, sys.executable, *torchrun.split(), *map(str, words)]
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ranks(self) -> list[int]:
        """The processes of the ranks, in order, once there are any."""
        found = {}
        for pid in descendants(self.process.pid):
            words = environment_of(pid)
            if "LOCAL_RANK" in words and parent_of(pid) == self.process.pid:
                found[int(words["LOCAL_RANK"])] = pid
        return [found[rank] for rank in sorted(found)]

    def until(self, done: Callable[[], Any], timeout: float = 60) -> Any:
        """Waits until ``done()`` is true, and gives its value."""
        end = time.monotonic() + timeout
        while not (value := done()):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"not reached\n{self.end(1)}")
            time.sleep(0.01)
        return value

    def end(self, timeout: float = 90) -> Ended:
        """Waits for its end, or makes one; the code is then that of a kill."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for pid in (*descendants(self.process.pid), self.process.pid):
                os.kill(pid, signal.SIGKILL)
            out, err = self.process.communicate()
        return Ended(self.process.returncode, out, err, time.monotonic() - self.start)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        if parent_of(int(path.name)) == pid:
            found += [int(path.name), *descendants(int(path.name))]
    return found


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def environment_of(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)
