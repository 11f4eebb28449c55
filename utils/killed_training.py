"""Runs ``train.py`` as processes that are killed after a certain progress, and resumes them."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from utils.checkpoints import GROUP, checkpoint_number, list_checkpoints
from utils.errors import UserError

PROGRAM = Path(__file__).parent.parent / "train.py"
POLL_SECONDS = 0.002  # a small model trains an epoch in a tenth of a second
MAX_SECONDS_TO_END = 30.0  # of all that holds the pipe; what a tracker has started may stay
LINES_SHOWN = 20  # of the errors of a training that has failed


class Kill(NamedTuple):
    """A kill of a training that had not ended, and had a checkpoint to resume.

    Attributes:
        checkpoint: the name of the newest one at that time.
        was_resumed: whether the process that was killed had resumed the run itself.
    """

    checkpoint: str
    was_resumed: bool


class Training:
    """A process of ``train.py`` and those that it starts. None is left after ``with Training(…)``.

    Args:
        words: its arguments.
        folder: of its run.
        description: of the process, for errors.
    """

    def __init__(self, words: Sequence[str], folder: Path, description: str) -> None:
        self.folder, self.description = folder, description
        # Killed processes leave temporary files. Those belong into the folder of all runs, too.
        self.process = start_python(str(PROGRAM), *words, TMPDIR=str(folder.parents[1]))
        self.last_lines: deque[str] = deque(maxlen=LINES_SHOWN)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader.is_alive() or self.process.poll() is None:
            self.kill()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.last_lines.extend(self.process.stderr)

    def follow(self) -> Iterator[str]:
        """Yields the name of the newest checkpoint when there is a new one, until the end.

        Raises:
            UserError: the training has failed by itself, or is a search or a repetition.
        """
        known = find_newest(self.folder)
        is_running = True
        while is_running:
            is_running = self.process.poll() is None
            if (self.folder / GROUP).is_file():
                message = "the config makes several runs, and verify_resume trains a single one"
                raise UserError(f"{message}; remove the section by ~search or ~repeat")
            newest = find_newest(self.folder)
            if newest is not None and newest != known:
                yield newest
                known = newest
            elif is_running:
                time.sleep(POLL_SECONDS)
        self._check()

    def survives(self, seconds: float) -> bool:
        """Whether the training still runs after some time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        """Kills the training; returns when all its processes have ended, which hold its pipe.

        Its ranks must die too: they would write a checkpoint as soon as they miss their launcher.
        """
        descendants = list_descendants(self.process.pid)
        self.process.kill()
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(MAX_SECONDS_TO_END)

    def _check(self) -> None:
        status = self.process.wait()
        self._reader.join(MAX_SECONDS_TO_END)
        if status:
            last_lines = "".join(self.last_lines).rstrip()
            message = f"{self.description} failed by itself, with status {status}"
            message += f":\n{last_lines}" if last_lines else ""
            if os.strerror(errno.ENOSPC) in last_lines:
                message += "\nSet the environment variable TMPDIR to a folder with more space."
            if "unrecognized arguments" in last_lines:  # of a project that keeps its own parser
                message += "\nIt must take KEY=VALUE and --run-id, as Plainloop's train.py does."
            raise UserError(message)


def start_python(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Starts Python with these arguments and variables, and with a pipe for its errors."""
    return subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,  # nobody sees what a debugger, for example, asks
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        encoding="utf-8",
        errors="replace",  # an error in the reader would let the training wait for it forever
    )


def list_descendants(pid: int) -> list[int]:
    """The ids of the processes that a process has started, and those have. Only Linux tells."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: list[int] = []
    level = children.get(pid, [])
    while level:
        found += level
        level = [child for each in level for child in children.get(each, [])]
    return found


def find_newest(folder: Path) -> str | None:
    """The name of the newest checkpoint; None if there is none."""
    try:
        return next((path.name for path in list_checkpoints(folder)), None)
    except FileNotFoundError:  # there is no folder yet
        return None


def train_straight(words: Sequence[str], folder: Path) -> tuple[list[str], float]:
    """Trains without a kill.

    Returns:
        The names of the checkpoints in their order, and the usual seconds between two of them.
    """
    names, times = [], []
    with Training(words, folder, "the training without a kill") as training:
        for name in training.follow():
            names.append(name)
            times.append(time.monotonic())
    gaps = [after - before for before, after in pairwise(times)]
    return names, median(gaps) if gaps else 0.0


def choose_checkpoints(names: Sequence[str], max_kills: int, rng: random.Random) -> list[str]:
    """Chooses the checkpoints after which a training is killed, each before the last one.

    Args:
        names: of all checkpoints in their order.
        max_kills: the most kills.
        rng: chooses.
    """
    candidates = names[:-1]  # after the last one, there is nothing left to resume
    indices = rng.sample(range(len(candidates)), min(max_kills, len(candidates)))
    return [candidates[index] for index in sorted(indices)]


def train_with_kills(
    words: Sequence[str], folder: Path, targets: Sequence[str], last: str, delays: Sequence[float]
) -> list[Kill]:
    """Trains to the end, with a kill after each of some checkpoints, and a resume after each kill.

    Each process writes at least one checkpoint before it is killed.

    Args:
        words: the arguments of ``train.py``.
        folder: the run's folder.
        targets: the names of the checkpoints, in their order.
        last: the name of the checkpoint at the end of the run.
        delays: the seconds between a checkpoint and the kill.

    Returns:
        The kills that count. A training that has ended before its kill has none.
    """
    kills: list[Kill] = []
    for target, delay in zip(targets, delays, strict=True):
        was_resumed = find_newest(folder) is not None
        with resume(words, folder) as training:
            for name in training.follow():
                if is_as_far(name, target) and (not delay or training.survives(delay)):
                    break  # the end of the context kills it
        newest = find_newest(folder)
        if newest is None or is_as_far(newest, last):
            break
        kills.append(Kill(newest, was_resumed))
    with resume(words, folder) as training:
        for _ in training.follow():
            pass
    return kills


def resume(words: Sequence[str], folder: Path) -> Training:
    """Starts a training, or resumes it from its newest checkpoint."""
    newest = find_newest(folder)
    if newest is None:
        return Training(words, folder, "the training")
    return Training(["-r", str(folder)], folder, f"the training that resumed {newest}")


def is_as_far(name: str, other: str) -> bool:
    """Whether a checkpoint is as new as another one, or newer."""
    return checkpoint_number(Path(name)) >= checkpoint_number(Path(other))
