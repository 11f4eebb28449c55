"""A copy of the project whose runs can be killed at little cost, and the digest of a run."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import copy_project
from utils.checkpoints import list_checkpoints

HERE = Path(__file__).parent
ALL = os.environ.get("TORTURE") == "all"
START_SECONDS = 120.0  # of the server's imports on a busy machine

# Imports the slow modules once. Then it forks for every command, and gives it a session.
SERVER = """
import atexit, json, os, runpy, signal, subprocess, sys, threading, traceback
sys.path.insert(0, os.getcwd())
import numpy, sklearn.datasets, torch, torch.utils.tensorboard, torchmetrics, torchvision
import base.tools.check, base.run, train, torture_hooks, data_loader.data_loaders, trainer.trainer
from tests.forked import MemberPopen
subprocess.Popen = MemberPopen
try:
    import optuna, sqlalchemy
except ImportError:
    pass
for line in sys.stdin:
    argv, folder, hooks = json.loads(line)
    if (child := os.fork()) == 0:
        os.setsid()
        # Background jobs of a shell ignore SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(os.path.join(folder, name), flags), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv, code = argv, 0
        try:
            if hooks is not None:
                torture_hooks.install(**hooks)
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as error:
            code = error.code or 0
        except KeyboardInterrupt:
            code = traceback.print_exc() or 130
        except BaseException:
            code = traceback.print_exc() or 1
        atexit._run_exitfuncs()
        threading._shutdown()
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def times(full: int, usual: int) -> int:
    """How often a fault is tried: the full count under TORTURE=all, else the usual one."""
    return full if ALL else usual


def report(row: int, fault: str, count: int, failures: list[Any], start: float) -> None:
    """Prints the result of a campaign, which began at the monotonic time ``start``.

    Raises:
        AssertionError: there were failures.
    """
    seconds = time.monotonic() - start
    print(f"row {row}: {fault}, {count} times, {len(failures)} failures, {seconds:.0f} s")
    assert not failures, "\n".join(map(str, failures))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}


class Done(NamedTuple):
    """A command that has ended; the code of one that a signal killed is its negative number."""

    code: int
    out: str
    err: str
    seconds: float


class Life:
    """One process of a run, from its start to its end."""

    def __init__(self, folder: Path, server: subprocess.Popen[bytes], mark: Path) -> None:
        self.folder, self.server, self.mark = folder, server, mark
        self.start = time.monotonic()
        self.pid = 0
        self.pid = int(self._line(START_SECONDS))

    def _line(self, timeout: float) -> bytes:
        assert self.server.stdout is not None
        if not select.select([self.server.stdout], [], [], timeout)[0]:
            assert self.pid, f"the server does not start within {timeout} s"
            os.killpg(self.pid, signal.SIGKILL)
            self._line(30)
            raise AssertionError(
                f"hangs: no end within {timeout} s\n{(self.folder / 'err.txt').read_text()[-2000:]}"
            )
        return self.server.stdout.readline()

    def has_ended(self) -> bool:
        return bool(select.select([self.server.stdout], [], [], 0)[0])

    def wait_for_mark(self, timeout: float = 60) -> int | None:
        """Waits for the point of the hooks.

        Returns:
            The optimizer steps done there; None if the run ends before.
        """
        end = time.monotonic() + timeout
        while not self.mark.exists():
            if self.has_ended() or time.monotonic() > end:
                return None
            time.sleep(0.0002)
        return int(self.mark.read_text())

    def send(self, number: int, group: bool = False) -> None:
        """Sends a signal to the process; ``group``: also to its children, as a terminal does."""
        if not self.has_ended():
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, timeout: float = 60) -> Done:
        code = int(self._line(timeout))
        texts = [(self.folder / name).read_text() for name in ("out.txt", "err.txt")]
        return Done(code, *texts, time.monotonic() - self.start)

    def children(self) -> list[int]:
        """The processes that read its data."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]


class Project:
    """A copy of the repository with a dataset, a model and a trainer for torture, and its runs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="torture-"))
        copy_project(self.folder)
        for room in ("data_loader", "model", "trainer"):
            shutil.copy(HERE / "components.py", self.folder / room / "torture.py")
        shutil.copy(HERE / "hooks.py", self.folder / "torture_hooks.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        command = [sys.executable, "-c", SERVER]
        self.server: subprocess.Popen[bytes] = subprocess.Popen(
            command, cwd=self.folder, env=environment(), **pipes
        )

    def close(self) -> None:
        self.server.kill()  # a loader's workers, forked from here, hold its standard input open
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def config(self, name: str, values: dict[str, Any]) -> str:
        """Writes a config; returns what ``-c`` takes."""
        (self.folder / f"{name}.json").write_text(json.dumps(values))
        return f"{name}.json"

    def start(self, *argv: object, **hooks: Any) -> Life:
        """Starts ``python ARGV``; ``install`` in ``hooks.py`` describes the hooks."""
        mark = self.folder / "mark"
        mark.unlink(missing_ok=True)
        order = [
            list(map(str, argv)),
            str(self.folder),
            hooks | {"mark": str(mark)} if hooks else None,
        ]
        self.server.stdin.write(json.dumps(order).encode() + b"\n")  # type: ignore[union-attr]
        return Life(self.folder, self.server, mark)

    def run(self, *argv: object, timeout: float = 60, **hooks: Any) -> Done:
        """Runs ``python ARGV`` to its end."""
        return self.start(*argv, **hooks).wait(timeout)

    def run_folder(self, run_id: str) -> Path:
        return self.folder / "saved" / "torture" / run_id

    def words(self, config: str, run_id: str) -> list[str]:
        """The command that resumes a run, or starts it again if it has no checkpoint yet."""
        folder = self.run_folder(run_id)
        if folder.is_dir() and list_checkpoints(folder):
            return ["train.py", "-r", f"saved/torture/{run_id}"]
        return ["train.py", "-c", config, "--run-id", run_id]

    def finish(self, config: str, run_id: str) -> str:
        """Resumes a run, and returns its digest after its end."""
        done = self.run(*self.words(config, run_id))
        assert done.code == 0, f"status {done.code}\n{done.err[-3000:]}"
        return digest_of_run(self.run_folder(run_id))


@functools.cache
def project() -> Project:
    """The project of this test process."""
    project = Project()
    atexit.register(project.close)
    return project


def make_config(
    workers: int = 0, accumulation: int = 1, epochs: int = 3, **trainer: Any
) -> dict[str, Any]:
    """The config of a short run: 80 samples in 10 batches an epoch, a checkpoint every 3 steps."""
    steps = epochs * -(-10 // accumulation)
    options = {
        "type": "torture.Recorder",
        "epochs": epochs,
        "save_dir": "saved",
        "tensorboard": False,
        "save_steps": 3,
    }
    options |= {"accumulation_steps": accumulation, "ema_decay": 0.9, "monitor": "min val_loss"}
    return {
        "name": "torture",
        "n_gpu": 0,
        "arch": {"type": "torture.Net"},
        "data_loader": {"type": "torture.Loader", "args": {"num_workers": workers}},
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.02, "total_steps": steps}},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "trainer": options | trainer,
    }


def load_newest(folder: Path) -> dict[str, Any]:
    """The state of a run's newest checkpoint."""
    state: dict[str, Any] = torch.load(list_checkpoints(folder)[0], weights_only=True)
    return state


def digest_of_run(folder: Path) -> str:
    """SHA-256 of a run's final state, its best weights, and its metrics without clock times."""
    best = folder / "model_best.pt"
    best_weights = torch.load(best, weights_only=True)["state_dict"] if best.is_file() else None
    return digest_of([load_newest(folder), best_weights, read_lines(folder)])


def digest_of(value: Any) -> str:
    """SHA-256 of nested tensors and plain values."""
    sha = hashlib.sha256()
    _add(value, sha)
    return sha.hexdigest()


def _add(value: Any, sha: Any) -> None:
    if isinstance(value, torch.Tensor):
        sha.update(f"tensor {value.dtype} {tuple(value.shape)} ".encode())
        sha.update(value.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        sha.update(f"dict {len(value)} ".encode())
        for key in sorted(value, key=repr):
            sha.update(f"{key!r}: ".encode())
            _add(value[key], sha)
    elif isinstance(value, list | tuple):
        sha.update(f"list {len(value)} ".encode())
        for item in value:
            _add(item, sha)
    else:
        sha.update(f"{type(value).__name__} {value!r} ".encode())
