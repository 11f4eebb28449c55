"""Runs ``python WORDS`` as a fork of a process that has imported the slow libraries already.

Importing torch and its friends takes 4 s of each new process; a fork takes none of it. One
difference remains: environment variables that are read at an import have no effect.
This file is also the program that forks. It gets orders as lines of JSON.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import itertools
import json
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    "numpy",
    "sklearn.datasets",
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.elastic.multiprocessing",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "torchmetrics",
    "torchvision",
)
PROJECT = (
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
        with_project: this project is imported before the fork, and not only the libraries. Other
            projects, and changed copies of this one, need False.
        max_bytes: limit of the address space.
    """

    def __init__(
        self,
        words: list[str],
        cwd: Path,
        environment: dict[str, str],
        before: tuple[str, ...] = (),
        with_project: bool = True,
        max_bytes: int | None = None,
    ) -> None:
        folder, number = make_output_folder(), next(NUMBERS)
        self.server = get_server(before, with_project)
        self.files = [folder / f"{number}.out", folder / f"{number}.err"]
        order = {
            "words": words,
            "cwd": str(cwd),
            "environment": environment,
            "files": list(map(str, self.files)),
            "max_bytes": max_bytes,
        }
        self.pid: int = send_order(order, self.server)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = send_order({"pid": self.pid}, self.server)
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
        out, err = (path.read_text("utf-8", errors="replace") for path in self.files)
        return out, err


def run_forked(
    *words: str | Path,
    cwd: Path = ROOT,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    max_bytes: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python WORDS`` in ``cwd``, which may be any project, with no input and without a GPU.

    Args:
        words: a script, ``-m`` and a module, or ``-c`` and code; then its arguments.
        cwd: the working directory.
        timeout: in seconds.
        env: added to the environment.
        max_bytes: limit of the address space.

    Raises:
        subprocess.TimeoutExpired: it was killed after ``timeout``, with its children.
    """
    texts = list(map(str, words))
    environment = {**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "", **(env or {})}
    process = ForkedProcess(texts, cwd, environment, with_project=False, max_bytes=max_bytes)
    try:
        outputs = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(texts, process.returncode, *outputs)


@functools.cache
def make_output_folder() -> Path:
    """A folder for what the programs print; it is deleted with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def preload(with_project: bool = True) -> None:
    """Imports what every run imports, so that no fork of this process has to."""
    for name in (*LIBRARIES, *PROJECT) if with_project else LIBRARIES:
        importlib.import_module(name)


# -- the process that forks ----------------------------------------------------------------------


@functools.cache
def get_server(before: tuple[str, ...], with_project: bool) -> subprocess.Popen[str]:
    """The process that forks, started once by the command ``before``."""
    program = ["-m", "tests.forked"] if with_project else [__file__]
    server = subprocess.Popen(
        [*before, sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    atexit.register(server.kill)
    return server


def send_order(order: dict[str, Any], server: subprocess.Popen[str]) -> Any:
    """Sends an order to the process that forks, and returns its answer."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(order) + "\n")
    return json.loads(server.stdout.readline())


def serve(with_project: bool) -> None:
    """Forks a process for each order with ``words``; tells the exit status of a ``pid``."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    preload(with_project)
    subprocess_handler.Popen = ForkingPopen  # type: ignore[misc]
    subprocess.Popen = MemberPopen  # type: ignore[misc]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    for line in sys.stdin:
        order = json.loads(line)
        if "pid" in order:
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            os.setpgid(0, 0)
            for number, path in enumerate([os.devnull, *order["files"]]):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            os.chdir(order["cwd"])
            if order["max_bytes"]:
                resource.setrlimit(resource.RLIMIT_AS, (order["max_bytes"], order["max_bytes"]))
            run_python(order["words"], order["environment"])
        answers.write(json.dumps(answer) + "\n")


class ForkingPopen(subprocess.Popen[Any]):
    """A ``Popen`` of Python that forks and does not execute; for torch's launchers."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        cwd = rest[4]
        environment = dict(os.environ) if rest[5] is None else rest[5]
        outputs = {0: rest[9], 1: rest[12], 2: rest[14]}
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            if cwd is not None:
                os.chdir(cwd)
            for number, file in outputs.items():
                if file != -1:
                    os.dup2(file, number)
            run_python([word for word in args[1:] if word != "-u"], environment)
        self._child_created = True
        self._close_pipe_fds(*rest[9:15])  # type: ignore[attr-defined]


class MemberPopen(ForkingPopen):
    """The same for ``train.py`` only; for searches and repetitions."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        is_run = isinstance(args, list) and len(args) > 1 and Path(args[1]).name == "train.py"
        if is_run and args[0] == sys.executable:
            super()._execute_child(args, *rest)
        else:
            super(ForkingPopen, self)._execute_child(args, *rest)  # type: ignore[misc]


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
    # Another thread, or another process that was killed, may have held the locks of the old ones.
    sys.stdout, sys.stderr = (open(file, "w", 1, closefd=False) for file in (1, 2))  # noqa: SIM115
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.set_lock(threading.RLock())
    finalizers: Any = weakref.finalize
    finalizers._registry.clear()  # the parent's temporary folders stay
    random.seed()
    sys.modules["numpy"].random.seed()
    sys.orig_argv = [sys.executable, *words]
    code: Any = 0
    try:
        run_words(*words)
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_words(first: str, *rest: str) -> None:
    """Does what ``python FIRST REST`` does, with its ``sys.argv`` and ``sys.path``."""
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path[0] = ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = list(rest)
        sys.path[0] = str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        sys.path[0] = str(Path(first).absolute().parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve(with_project=__package__ == "tests")
