"""Estimates the time of a group of runs: ``train.py --check`` tries one of them and measures it."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from base.groups.options import RepeatOptions, SearchOptions
from base.groups.plan.engine import GRID
from base.groups.plan.grid import count_points, count_trials, list_sizes
from base.groups.plan.space import Space, describe_entry
from base.tools.measurement import VARIABLE, Measurement
from utils.errors import Problem, UserError, one_line, shorten
from utils.tables import format_duration

MAX_KEY_CHARS = 300  # of the values of one key
MAX_PRODUCT_KEYS = 6
SECONDS_TO_END = 5.0  # of a check that a signal stops


class Estimate(NamedTuple):
    """The time of one run.

    Attributes:
        measurement: of its parts.
        start_seconds: from the start of the process to the first batch.
    """

    measurement: Measurement
    start_seconds: float

    @property
    def seconds(self) -> float | None:
        """The seconds of a run; None if its data has no length."""
        training = self.measurement.seconds
        return None if training is None else self.start_seconds + training


def estimate(command: Sequence[str]) -> Estimate:
    """Tries a run by ``--check``, and measures it.

    Args:
        command: of a run, without ``--check``.

    Raises:
        UserError: the check fails. The lines are those of the check.
    """
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        path = Path(folder, "measurement.json")
        environment = {**os.environ, VARIABLE: str(path)}
        before = time.time()
        status, errors = _run_check([*command, "--check"], environment)
        if status != 0:
            raise UserError(describe_failure(status, errors))
        measurement = Measurement.read(path)
        return Estimate(measurement, max(0.0, measurement.started - before))


def _run_check(command: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Runs a check, and returns its status and what it has written on standard error.

    If a signal ends this program meanwhile, the check gets the time to remove its own files.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            errors = process.communicate()[1]
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=SECONDS_TO_END)
            process.kill()
            raise
    return process.returncode, errors.decode(errors="replace")


def describe_failure(status: int, stderr: str) -> list[Problem]:
    """Returns the lines of a check that has failed; only the last one of a traceback."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if status < 0 or not lines:
        end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        lines = [f"train.py --check {end}", *lines[-1:]]
    elif status != 2:
        lines = ["train.py --check failed:", one_line(ValueError(lines[-1]))]
    return [Problem("", line) for line in lines]


# -- in words --------------------------------------------------------------------------------------


def count_members(repeat: RepeatOptions | None) -> int:
    """Returns the number of runs of a repetition; 1 without one."""
    if repeat is None:
        return 1
    return len(repeat.list_seeds(0)) * (1 if repeat.folds is None else repeat.folds)


def describe_plan(
    search: SearchOptions | None,
    repeat: RepeatOptions | None,
    space: Space,
    found: Estimate | None = None,
    jobs: int = 1,
) -> list[str]:
    """Says in a few lines what a search or a repetition is going to run, and for how long.

    Args:
        search, repeat: the options; None for an absent section.
        space: of the search; empty without one.
        found: the time of a run; None if it was not measured.
        jobs: the number of runs side by side.
    """
    trials = 1 if search is None else count_trials(search, space)
    lines = [] if search is None else [_describe_trials(search, space, trials)]
    runs = trials * count_members(repeat)
    if repeat is not None:
        each = _describe_members(repeat)
        lines.append(f"{_count(trials, 'trial')} of {each}: {_count(runs, 'run')}.")
        if search is None:
            lines[-1] = f"{each.capitalize()}: {_count(runs, 'run')}."
    if found is not None:
        lines += _describe_time(found, runs, jobs)
    return lines


def describe_space(space: Space) -> list[str]:
    """Returns a line for each key of a space, with its values."""
    return [
        f"{key}: {shorten(describe_entry(entry), MAX_KEY_CHARS)}" for key, entry in space.items()
    ]


def _describe_trials(search: SearchOptions, space: Space, trials: int) -> str:
    if search.sampler != GRID:
        return f"{_count(trials, 'trial')} over {_count(len(space), 'key')}."
    sizes = list_sizes(space)
    points = count_points(space) or 0
    product = " x ".join(map(str, sizes)) if 1 < len(sizes) <= MAX_PRODUCT_KEYS else ""
    text = f"A grid of {product} = {points:,}" if product else f"A grid of {points:,}"
    if trials < points:
        return f"{text} points, of which the first {trials:,} are tried."
    return f"{text} {'trial' if points == 1 else 'trials'}."


def _describe_members(repeat: RepeatOptions) -> str:
    words = [] if repeat.seeds is None else [_count(len(repeat.list_seeds(0)), "seed")]
    words += [] if repeat.folds is None else [_count(repeat.folds, "fold")]
    return " x ".join(words)


def _describe_time(found: Estimate, runs: int, jobs: int) -> list[str]:
    """Describes the time of all runs, measured on one of them with the cores of one job."""
    measured = found.measurement
    rate = f"{measured.batch_seconds:.4f} s a batch"
    if found.seconds is None:
        return [f"The data has no length, so the time is unknown: {rate}."]
    total = math.ceil(runs / jobs) * found.seconds
    passes = "1 pass" if measured.is_cached else _count(measured.epochs, "epoch")
    length = f"{passes} of {_count(measured.batches or 0, 'batch')}"
    rest = "; later epochs use cached features" if measured.is_cached else ""
    return [
        f"About {format_duration(total)} with {_count(jobs, 'job')}, if no run stops early. "
        f"A run takes {format_duration(found.seconds)}: {found.start_seconds:.1f} s to start, and "
        f"{length} at {rate}{rest}."
    ]


def _count(number: int, name: str) -> str:
    plural = f"{name}es" if name.endswith("tch") else f"{name}s"
    return f"{number:,} {name if number == 1 else plural}"
