"""Row 9: a killed worker of a data loader is one line and status 2, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

from tests.torture.harness import project, report, times
from tests.torture.kill_runs import Reference, reference

KILLED = "a process that loads data was killed"
PASSAGES = {"step": 9, "validation": 6, "save": 4}  # of every variant


def list_session(number: int) -> list[int]:
    """The processes of a session that are alive."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rsplit(") ")[-1][0]
            if os.getsid(int(folder.name)) == number and state != "Z":
                alive.append(int(folder.name))
    return alive


def kill_worker(run: Reference, run_id: str, draw: random.Random, point: str) -> None:
    """Kills one worker, of training or of validation, at a point of the run."""
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    n, hold = draw.randint(1, PASSAGES[point]), draw.choice((0, 0.05))
    life = project().start(*words, point=point, n=n, hold=hold)
    if life.wait_for_mark() is None:
        raise AssertionError(f"the run ended before: {life.wait()}")
    os.kill(draw.choice(life.children()), signal.SIGKILL)
    start = time.monotonic()
    done = life.wait()
    seconds = time.monotonic() - start
    assert done.code == 2, f"status {done.code}\n{done.err[-3000:]}"
    # Rarely, torch's own lines are there, too: its signal handler interrupts code that cannot
    # raise, or another worker finds its pipe closed.
    lines = [line for line in done.err.splitlines() if line.startswith(KILLED)]
    assert len(lines) == 1, done.err
    assert seconds < 10, f"it took {seconds:.1f} s to end"
    left = list_session(life.pid)
    assert not left, f"left behind: {left}"
    run.compare(run_id)
    run.finish(run_id)


def test_a_killed_worker_is_one_line_and_leaves_nothing_behind():
    start, failures, count = time.monotonic(), [], times(20, 4)
    references = [reference(name) for name in ("workers", "both", "async")]
    draw, points = random.Random(9), ("step", "validation", "step", "save")
    for number in range(count):
        run, point = references[number % len(references)], points[number % len(points)]
        try:
            kill_worker(run, f"row9-{number}", draw, point)
        except AssertionError as error:
            failures.append(f"{run.name}, at point {point}: {error}")
    report(9, "a DataLoader worker killed", count, failures, start)
