"""Several ranks on this machine for the tests: forked functions, and whole programs."""

from __future__ import annotations

import atexit
import contextlib
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
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.forked import ForkedProcess, preload
from tests.helpers import ROOT
from utils.distributed import init_distributed
from utils.world import ProcessSettings

MAX_SECONDS = 120.0  # of one step of a test, also on a busy machine

# Makes the stores at which ranks meet, in a process of its own, because the threads of a store do
# not survive a fork.
STORES = """
import sys, torch.distributed
for line in sys.stdin:
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    print(store.port, flush=True)
"""


@functools.cache
def get_store_maker() -> subprocess.Popen[str]:
    """The process that makes the stores, started once."""
    command = [sys.executable, "-c", STORES]
    maker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    atexit.register(maker.kill)
    return maker


def make_store() -> int:
    """The port of a new store."""
    maker = get_store_maker()
    assert maker.stdin is not None
    assert maker.stdout is not None
    maker.stdin.write("\n")
    return int(maker.stdout.readline())


def in_ranks(
    count: int, function: Callable[..., Any], *args: Any, timeout: float = MAX_SECONDS
) -> list[Any]:
    """Calls ``function(*args)`` in each of ``count`` connected ranks, which are forked from here.

    Args:
        count: the number of ranks.
        function: what each rank calls.
        args: its arguments.
        timeout: seconds after which the ranks are killed.

    Returns:
        The result of each rank, in the order of the ranks.

    Raises:
        AssertionError: a rank failed, with its traceback, or did not end in time.
    """
    preload()
    fork = multiprocessing.get_context("fork")
    port = make_store()
    pipes, processes = [], []
    for rank in range(count):
        here, there = fork.Pipe(duplex=False)
        environment = make_environment(rank, count, port)
        process = fork.Process(target=run_rank, args=(environment, there, function, args, timeout))
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


def make_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What a launcher sets for a rank on the only machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def run_rank(
    environment: dict[str, str],
    pipe: Connection,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    timeout: float,
) -> None:
    """One rank: sends the result of ``function``, or the traceback, and ends the process."""
    os.environ |= environment
    logging.getLogger().handlers.clear()
    faulthandler.dump_traceback_later(timeout - 1, file=sys.__stderr__)  # of a rank that hangs
    try:
        with init_distributed(ProcessSettings(n_gpu=0, timeout_seconds=30)):
            pipe.send((True, function(*args)))
    except BaseException:
        pipe.send((False, f"rank {environment['RANK']}: {traceback.format_exc()}"))
    finally:
        os._exit(0)


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str
    seconds: float


class Program:
    """A command with all the processes that it starts.

    None is left after ``end``, nor when this process ends.

    Args:
        words: the arguments of Python.
        cwd: the working directory.
        torchrun: the module that starts the ranks, with its arguments, for ``python TORCHRUN``.
        before: a command that runs the program, such as ``ip netns exec NAME``.
        environment: environment variables to set.
    """

    def __init__(
        self,
        *words: object,
        cwd: Path = ROOT,
        torchrun: str = "",
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.start = time.monotonic()
        self.process = self.start_process(
            [*torchrun.split(), *map(str, words)],
            cwd,
            {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", **environment},
            tuple(before),
        )
        atexit.register(self.kill)

    def start_process(
        self, words: list[str], cwd: Path, environment: dict[str, str], before: tuple[str, ...]
    ) -> subprocess.Popen[str] | ForkedProcess:
        return subprocess.Popen(
            [*before, sys.executable, *words],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ranks(self) -> list[int]:
        """The process ids of the ranks that have started, in the order of the ranks."""
        found = {}
        for pid in list_descendants(self.process.pid):
            rank = get_rank(pid)
            if rank is not None and get_parent(pid) == self.process.pid:
                found[rank] = pid
        return [found[rank] for rank in sorted(found)]

    def until(self, done: Callable[[], Any], timeout: float = MAX_SECONDS) -> Any:
        """Waits until ``done()`` is true and returns its value."""
        end = time.monotonic() + timeout
        while not (value := done()):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"not reached\n{self.end(1)}")
            time.sleep(0.01)
        return value

    def end(self, timeout: float = MAX_SECONDS) -> Ended:
        """Waits for the end, and kills the program after ``timeout`` seconds."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
        atexit.unregister(self.kill)
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out, err, time.monotonic() - self.start)

    def kill(self) -> None:
        """Kills all processes, if the program has not ended."""
        if self.process.poll() is None:
            for pid in (*list_descendants(self.process.pid), self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class ForkedProgram(Program):
    """A program as fast as a fork; see ``tests/forked.py``."""

    def start_process(
        self, words: list[str], cwd: Path, environment: dict[str, str], before: tuple[str, ...]
    ) -> ForkedProcess:
        return ForkedProcess(words, cwd, environment, before)


def list_descendants(pid: int) -> list[int]:
    """The ids of a process's children and of their descendants."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        if get_parent(int(path.name)) == pid:
            found += [int(path.name), *list_descendants(int(path.name))]
    return found


def get_parent(pid: int) -> int:
    """The process id of the parent; 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def get_rank(pid: int) -> int | None:
    """The local rank of a process that a launcher has started; None for any other."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:  # it has ended
        return None
    if name.startswith("rank"):  # a forked one
        return int(name.removeprefix("rank"))
    found = [word.partition("=")[2] for word in words if word.startswith("LOCAL_RANK=")]
    return int(found[0]) if found else None
