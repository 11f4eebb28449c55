"""What a group of runs will take, found out by ``train.py --check`` before anything starts."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from base.groups.options import RepeatOptions, SearchOptions
from base.groups.plan.space import Choices, Range, Space, count_points, list_sizes, show
from base.tools.measurement import VARIABLE, Measurement
from utils.errors import Problem, UserError, one_line, shorten

MAX_KEY_CHARS = 300  # of the values of one key
MAX_PRODUCT_KEYS = 6


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


def estimate(command: Sequence[str], env: Mapping[str, str] | None = None) -> Estimate:
    """Tries a run by ``--check``, and measures it.

    Args:
        command: of a run, without ``--check``.
        env: the environment of its process; that of this one by default.

    Raises:
        UserError: the check fails. The lines are those of the check.
    """
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        path = Path(folder, "measurement.json")
        environment = dict(os.environ if env is None else env) | {VARIABLE: str(path)}
        before = time.time()
        done = subprocess.run(
            [*command, "--check"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise UserError(describe_failure(done.returncode, done.stderr))
        measurement = Measurement.read(path)
        return Estimate(measurement, max(0.0, measurement.started - before))


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
    seeds = len(repeat.seeds) if isinstance(repeat.seeds, list) else repeat.seeds
    return (1 if seeds is None else seeds) * (1 if repeat.folds is None else repeat.folds)


def count_trials(search: SearchOptions | None, space: Space) -> int:
    """Returns the number of trials of a search; 1 without one."""
    if search is None:
        return 1
    points = count_points(space) if search.sampler == "grid" else None
    limits = [number for number in (search.trials, points) if number is not None]
    return min(limits, default=0)


def describe_plan(
    search: SearchOptions | None,
    repeat: RepeatOptions | None,
    space: Space,
    found: Estimate | None = None,
    jobs: int = 1,
    num_done: int = 0,
) -> list[str]:
    """Says in a few lines what a search or a repetition is going to run, and for how long.

    Args:
        search, repeat: the options; None for an absent section.
        space: of the search; empty without one.
        found: the time of a run; None if it was not measured.
        jobs: the number of runs side by side.
        num_done: the number of runs that have ended already.
    """
    trials, members = count_trials(search, space), count_members(repeat)
    lines = [] if search is None else [_describe_trials(search, space, trials)]
    runs = trials * members
    if repeat is not None:
        each = _describe_members(repeat)
        lines.append(f"{_count(trials, 'trial')} of {each}: {_count(runs, 'run')}.")
        if search is None:
            lines[-1] = f"{each.capitalize()}: {_count(runs, 'run')}."
    if num_done:
        lines.append(f"{_count(num_done, 'run')} of them have ended; {runs - num_done} are left.")
    if found is not None:
        lines += _describe_time(found, runs - num_done, jobs)
    return lines


def describe_space(space: Space) -> list[str]:
    """Returns a line for each key of a space, with its values."""
    return [
        f"{key}: {shorten(_describe_entry(entry), MAX_KEY_CHARS)}" for key, entry in space.items()
    ]


def _describe_entry(entry: Choices | Range) -> str:
    if isinstance(entry, Choices):
        return ", ".join(map(show, entry.values))
    text = f"{'integers ' if entry.is_integer else ''}from {entry.low:g} to {entry.high:g}"
    if entry.step is not None:
        return f"{text} in steps of {entry.step:g}"
    return f"{text}, on a logarithmic scale" if entry.log else text


def _describe_trials(search: SearchOptions, space: Space, trials: int) -> str:
    if search.sampler != "grid":
        return f"{_count(trials, 'trial')} over {_count(len(space), 'key')}."
    sizes = list_sizes(space)
    points = count_points(space) or 0
    product = " x ".join(map(str, sizes)) if 1 < len(sizes) <= MAX_PRODUCT_KEYS else ""
    text = f"A grid of {product} = {points:,}" if product else f"A grid of {points:,}"
    if trials < points:
        return f"{text} points, of which the first {trials:,} are tried."
    return f"{text} {'trial' if points == 1 else 'trials'}."


def _describe_members(repeat: RepeatOptions) -> str:
    seeds = len(repeat.seeds) if isinstance(repeat.seeds, list) else repeat.seeds
    words = [] if seeds is None else [_count(seeds, "seed")]
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


def format_duration(seconds: float) -> str:
    """Formats a duration in its largest unit: ``40 s``, ``12 minutes``, ``1.4 hours``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
