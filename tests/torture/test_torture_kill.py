"""Rows 1 and 2: a run that was killed, at any time and any number of times, ends with the same bits."""

from __future__ import annotations

import random
import time

from tests.torture.harness import project, times
from tests.torture.kill_runs import VARIANTS, kill, reference


def campaign(row: int, fault: str, count: int, kills: int, variants: list[str]) -> None:
    """Kills ``count`` runs, each ``kills`` times, and lets them go on to their ends."""
    start, failures = time.monotonic(), []
    references = [reference(name) for name in variants]
    draw = random.Random(row)
    for number in range(count):
        run, run_id = references[number % len(references)], f"row{row}-{number}"
        places: list[str] = []
        try:
            for attempt in range(100):
                if len(places) == kills:
                    break
                run_id = f"row{row}-{number}-{attempt}" if not places else run_id
                if place := kill(run, run_id, draw, (number + len(places)) % 2 == 0, 1 / kills):
                    places.append(place)
                    run.compare(run_id)
                else:  # it had ended before; that must be no other end either
                    run.finish(run_id)
                    places.clear()
            run.finish(run_id)
            names = {path.name for path in project().run_folder(run_id).glob("*.pt")}
            assert names == run.names, f"other checkpoints: {sorted(names ^ run.names)}"
        except AssertionError as error:
            failures.append(f"{run.name} {run_id}, killed {', '.join(places)}: {error}")
    print(
        f"row {row}: {fault}, {count} times, {len(failures)} failures, {time.monotonic() - start:.0f} s"
    )
    assert not failures, "\n".join(failures)


def test_a_killed_run_ends_with_the_same_bits():
    campaign(1, "kill -9", times(200, 8), 1, list(VARIANTS))


def test_a_run_that_was_killed_three_times_ends_with_the_same_bits():
    campaign(2, "kill -9, three times in one run", times(30, 3), 3, ["both", "iteration", "async"])
