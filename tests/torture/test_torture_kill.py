"""Rows 1 and 2: a run that was killed, at any time and any number of times, ends the same."""

from __future__ import annotations

import random
import time

from tests.torture.harness import project, report, times
from tests.torture.kill_runs import VARIANTS, Reference, kill, reference

ATTEMPTS = 100


def kill_and_finish(run: Reference, run_id: str, kills: int, draw: random.Random, odd: int) -> None:
    """Kills a run so many times, and resumes it to its end, which must be that of ``run``."""
    points: list[str] = []
    for attempt in range(ATTEMPTS):
        if len(points) == kills:
            break
        if not points:
            current_id = f"{run_id}-{attempt}"
        point = kill(run, current_id, draw, (odd + len(points)) % 2 == 0, 1 / kills)
        try:
            if point is not None:
                points.append(point)
                run.compare(current_id)
            else:  # it had ended before the kill, and has the same end as well
                run.finish(current_id)
                points.clear()
        except AssertionError as error:
            raise AssertionError(f"{run.name}, killed {', '.join(points)}: {error}") from error
    run.finish(current_id)
    names = {path.name for path in project().run_folder(current_id).glob("*.pt")}
    assert names == run.names, f"other checkpoints: {sorted(names ^ run.names)}"


def run_campaign(row: int, fault: str, count: int, kills: int, variants: list[str]) -> None:
    """Kills ``count`` runs, each ``kills`` times."""
    start, failures = time.monotonic(), []
    references = [reference(name) for name in variants]
    draw = random.Random(row)
    for number in range(count):
        run, run_id = references[number % len(references)], f"row{row}-{number}"
        try:
            kill_and_finish(run, run_id, kills, draw, number % 2)
        except AssertionError as error:
            failures.append(f"{run.name} {run_id}: {error}")
    report(row, fault, count, failures, start)


def test_a_killed_run_ends_with_the_same_bits():
    run_campaign(1, "kill -9", times(200, 8), 1, list(VARIANTS))


def test_a_run_that_was_killed_three_times_ends_with_the_same_bits():
    variants = ["both", "iteration", "async"]
    run_campaign(2, "kill -9, three times in one run", times(30, 3), 3, variants)
