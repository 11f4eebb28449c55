"""Runs ``train.py`` as processes that are killed after a certain progress, and resumes them."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from utils.checkpoints import checkpoint_number, list_checkpoints
from utils.errors import UserError

PROGRAM = Path(__file__).parent.parent / "train.py"
POLL_SECONDS = 0.002  # a small model trains an epoch in a tenth of a second
LINES_SHOWN = 5  # of the output of a training that has failed


class Kill(NamedTuple):
    """A kill of a training that had not ended, and had a checkpoint to resume.

    Attributes:
        checkpoint: the name of the newest one at that time.
        was_resumed: whether the process that was killed had resumed the run itself.
    """

    checkpoint: str
    was_resumed: bool


class Training:
    """A process of ``train.py``.

    Args:
        words: its arguments.
        folder: of its run.
        description: of the process, for errors.
    """

    def __init__(self, words: Sequence[str], folder: Path, description: str) -> None:
        self.folder, self.description = folder, description
        self.process = start_python(str(PROGRAM), *words)
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output = self.process.stdout.read()

    def follow(self) -> Iterator[str]:
        """Yields the name of the newest checkpoint when there is a new one, until the end.

        Raises:
            UserError: the training has failed by itself.
        """
        known = find_newest(self.folder)
        is_running = True
        while is_running:
            is_running = self.process.poll() is None
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
        """Kills the training; returns when all its processes have ended, which hold its output."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _check(self) -> None:
        status = self.process.wait()
        self._reader.join()
        if status:
            last_lines = "\n".join(self.output.splitlines()[-LINES_SHOWN:])
            message = f"{self.description} failed by itself, with status {status}"
            raise UserError(f"{message}:\n{last_lines}")


def start_python(*words: str) -> subprocess.Popen[str]:
    """Starts Python with these arguments, and with a pipe for all that it prints."""
    command = [sys.executable, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


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
    training = Training(words, folder, "the training without a kill")
    names, times = [], []
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
        training = resume(words, folder)
        was_resumed = find_newest(folder) is not None
        for name in training.follow():
            if is_as_far(name, target) and (not delay or training.survives(delay)):
                training.kill()
                break
        newest = find_newest(folder)
        if newest is None or is_as_far(newest, last):
            break
        kills.append(Kill(newest, was_resumed))
    for _ in resume(words, folder).follow():
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
