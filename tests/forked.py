"""Runs ``python WORDS`` as a fork of a process that has imported everything.

Importing torch and its friends takes 4 s in each process of a run; a fork takes none of it. What
differs from a process of its own: environment variables that are read at an import have no effect.
``python -m tests.forked`` is the process that forks. It gets orders as lines of JSON.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tests.helpers import ROOT

PRELOADED = (
    "sklearn.datasets",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.elastic.multiprocessing",
    "torch.distributed.fsdp",
    "torchmetrics",
    "torchvision",
    "base.features",
    "base.run",
    "base.schema",
    "base.checkpoint.dcp",
    "base.parallel.kinds",
    "data_loader.data_loaders",
    "trainer.trainer",
)
NUMBERS = itertools.count()  # of the output files
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGCHLD")


class ForkedProcess:
    """A forked ``python WORDS``, with as much of the interface of ``Popen`` as is needed here.

    Args:
        words: the arguments of Python.
        cwd: the working directory.
        environment: all environment variables.
        before: the command that runs the process that forks, such as ``ip netns exec NAME``.
    """

    def __init__(
        self, words: list[str], cwd: Path, environment: dict[str, str], before: tuple[str, ...] = ()
    ) -> None:
        folder, number = make_output_folder(), next(NUMBERS)
        self.before = before
        self.files = [folder / f"{number}.out", folder / f"{number}.err"]
        order = {
            "words": words,
            "cwd": str(cwd),
            "environment": environment,
            "files": list(map(str, self.files)),
        }
        self.pid: int = send_order(order, before)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = send_order({"pid": self.pid}, self.before)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        end = time.monotonic() + (3600 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("python", timeout or 3600)
            time.sleep(0.01)
        out, err = (path.read_text() for path in self.files)
        return out, err


@functools.cache
def make_output_folder() -> Path:
    """A folder for what the programs print; it is deleted with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def preload() -> None:
    """Imports once what every run imports, so that no fork of this process has to."""
    for name in PRELOADED:
        importlib.import_module(name)


# -- the process that forks ----------------------------------------------------------------------


@functools.cache
def get_server(before: tuple[str, ...]) -> subprocess.Popen[str]:
    """The process that forks, started once by the command ``before``."""
    server = subprocess.Popen(
        [*before, sys.executable, "-m", "tests.forked"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    atexit.register(server.kill)
    return server


def send_order(order: dict[str, Any], before: tuple[str, ...]) -> Any:
    """Sends an order to the process that forks, and returns its answer."""
    server = get_server(before)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(order) + "\n")
    return json.loads(server.stdout.readline())


def serve() -> None:
    """Forks a process for each order with ``words``; tells the exit status of a ``pid``."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    preload()
    subprocess_handler.Popen = ForkingPopen  # type: ignore[misc]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    for line in sys.stdin:
        order = json.loads(line)
        if "pid" in order:
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            for number, path in enumerate([os.devnull, *order["files"]]):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            os.chdir(order["cwd"])
            run_python(order["words"], order["environment"])
        answers.write(json.dumps(answer) + "\n")


class ForkingPopen(subprocess.Popen[str]):
    """A ``Popen`` of Python that forks and does not execute; for torch's launchers."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        environment = rest[5]
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            run_python([word for word in args[1:] if word != "-u"], environment)
        self._child_created = True


def run_python(words: list[str], environment: dict[str, str]) -> NoReturn:
    """Does in this process what ``python WORDS`` does, and ends it."""
    os.closerange(3, 4096)
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    if "LOCAL_RANK" in environment:
        Path("/proc/self/comm").write_text(f"rank{environment['LOCAL_RANK']}")
    sys.orig_argv = [sys.executable, *words]
    code: Any = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        atexit._run_exitfuncs()
        threading._shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve()
