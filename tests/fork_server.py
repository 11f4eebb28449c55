"""Runs programs in forks of a process that has imported the slow libraries already.

Starting Python and importing torch takes seconds, which most tests of whole programs need not pay.
None of this project's own code is imported before the fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.helpers import ROOT, run

SERVER = """
import atexit, json, os, random, resource, runpy, signal, sys, threading, time, traceback
import numpy, tensorboard, torch, torch.utils.tensorboard, torchmetrics, torchvision

def become(request):
    os.setpgid(0, 0)
    for number, name in enumerate(("/dev/null", request["out"], request["err"])):
        os.dup2(os.open(name, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if request["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    random.seed()
    numpy.random.seed()
    first, *rest = request["words"]
    sys.orig_argv = [sys.executable, *request["words"]]
    if first in ("-c", "-m"):
        sys.argv = ["-c" if first == "-c" else rest[0], *rest[1:]]
    else:
        sys.argv = request["words"]
        sys.path[0] = os.path.dirname(os.path.abspath(first))
    if first == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")

def run_in_fork(request):
    status = 0
    try:
        become(request)
    except SystemExit as end:
        status = end.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # an ordinary end takes a second more

def wait(child, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        run_in_fork(request)
    print(json.dumps(wait(child, request["timeout"])), flush=True)
"""


class ForkServer:
    """Runs one program at a time. Where the system cannot fork, each is a new interpreter."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        if hasattr(os, "fork"):
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                env={**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None:
            # Closing its standard input is not enough: workers of a loader inherited it.
            self._process.kill()
            self._process.communicate()

    def run(
        self,
        *words: str | Path,
        cwd: Path = ROOT,
        timeout: float = 120,
        env: dict[str, str] | None = None,
        memory: int | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``python WORDS``, with no input and without a GPU.

        Args:
            words: a script, ``-m`` and a module, or ``-c`` and code; then its arguments.
            cwd: the folder where it runs.
            timeout: in seconds.
            env: added to the environment.
            memory: limit of the address space, in bytes.

        Raises:
            subprocess.TimeoutExpired: it was killed after ``timeout``.
        """
        if self._process is None:
            return run(*words, cwd=cwd, timeout=timeout)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            for path in (out, err):
                path.touch()
            request = {
                "words": [str(word) for word in words],
                "cwd": str(cwd),
                "env": {**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "", **(env or {})},
                "out": str(out),
                "err": str(err),
                "timeout": timeout,
                "memory": memory,
            }
            print(json.dumps(request), file=self._process.stdin, flush=True)
            status = json.loads(self._process.stdout.readline())
            if status is None:
                raise subprocess.TimeoutExpired(request["words"], timeout)
            outputs = [path.read_text("utf-8", errors="replace") for path in (out, err)]
            return subprocess.CompletedProcess(request["words"], status, *outputs)
