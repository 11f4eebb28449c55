"""Row 9: a killed process that loads data is one line and status 2, soon, with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

from tests.torture.harness import project, times
from tests.torture.kill_runs import Reference, reference

PASSAGES = {"step": 9, "validation": 6, "save": 4}  # which every variant has


def session(number: int) -> list[int]:
    """The processes of a session that are alive."""
    alive = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (
                os.getsid(int(folder.name)) == number
                and (folder / "stat").read_text().rsplit(") ")[-1][0] != "Z"
            ):
                alive.append(int(folder.name))
    return alive


def one_is_killed(run: Reference, run_id: str, draw: random.Random, place: str) -> None:
    """Kills one process that loads data, of training or of validation, while the run is somewhere."""
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    life = project().start(
        *words, place=place, n=draw.randint(1, PASSAGES[place]), hold=draw.choice((0, 0.05))
    )
    if life.at_mark() is None:
        raise AssertionError(f"the run ended before: {life.wait()}")
    os.kill(draw.choice(life.children()), signal.SIGKILL)
    start = time.monotonic()
    done = life.wait()
    seconds = time.monotonic() - start
    assert done.code == 2, f"status {done.code}\n{done.err[-3000:]}"
    # Rarely torch's own words stand beside it: its signal handler interrupts what cannot raise, or another worker
    # finds its pipe closed.
    assert [line.startswith("data_loader: ") for line in done.err.splitlines()].count(True) == 1, (
        done.err
    )
    assert seconds < 10, f"took {seconds:.1f} s"
    assert not (left := session(life.pid)), f"left behind: {left}"
    run.compare(run_id)
    run.finish(run_id)


def test_a_killed_worker_is_one_line_and_leaves_nothing_behind():
    start, failures, count = time.monotonic(), [], times(20, 4)
    references = [reference(name) for name in ("workers", "both", "async")]
    draw = random.Random(9)
    for number in range(count):
        run, place = (
            references[number % len(references)],
            ("step", "validation", "step", "save")[number % 4],
        )
        try:
            one_is_killed(run, f"row9-{number}", draw, place)
        except AssertionError as error:
            failures.append(f"{run.name}, at a {place}: {error}")
    print(
        f"row 9: a DataLoader worker killed, {count} times, {len(failures)} failures, {time.monotonic() - start:.0f} s"
    )
    assert not failures, "\n".join(failures)
