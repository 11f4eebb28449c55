"""Row 8: a run that is asked to stop saves within one step, and ends with the status that says why.

Resumed, it ends with the same bits.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.torture.harness import load_newest, project, report, times
from tests.torture.kill_runs import VARIANTS, Reference, reference

STATUS = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 75}
# How often each run passes each point, at least.
PASSAGES = {"step": 30, "validation": 12, "save": 5, "rename": 5, "metrics": 3, "epoch": 3}


def stop_at(run: Reference, run_id: str, name: str, point: str, n: int, group: bool) -> None:
    """Sends a signal at a point; ``group``: also to the loader's workers, as batch systems do."""
    events = project().folder / f"{run_id}.events"
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    life = project().start(*words, point=point, n=n, hold=0.1, events=str(events))
    steps = life.wait_for_mark()
    assert steps is not None, "the run ended before"
    sent = time.monotonic()
    workers = life.children() if group else []
    for pid in workers:
        os.kill(pid, getattr(signal, name))
    life.send(getattr(signal, name), group)
    done = life.wait()
    seconds = time.monotonic() - sent
    assert done.code == STATUS[name], f"status {done.code}\n{done.err[-2000:]}"
    assert not done.err, done.err
    found = load_newest(project().run_folder(run_id))["step"]
    assert steps <= found <= steps + 1, f"asked after {steps} steps, the checkpoint is of {found}"
    names = [line.split()[0] for line in events.read_text().splitlines()]
    after = names[names.index("mark") :]
    assert after.count("save") <= 1, f"more than one save: {after}"
    assert after.count("step") <= run.accumulation, f"more than one step: {after}"
    assert after.count("validation") == 0, f"the validation continued: {after}"
    assert seconds < 5, f"it took {seconds:.1f} s to end"
    run.compare(run_id)
    run.finish(run_id)


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGINT", pytest.param("SIGUSR1", marks=pytest.mark.slow)]
)
def test_a_run_that_is_asked_to_stop_resumes_to_the_same_bits(name):
    start, failures, count = time.monotonic(), [], times(50, 6)
    references = [reference(variant) for variant in VARIANTS]
    draw = random.Random(8)
    for number in range(count):
        points = list(PASSAGES) if number % 2 else ["step", "validation", "save"]
        point = points[number % len(points)]
        n, group = draw.randint(1, PASSAGES[point]), number % 4 < 2
        run = references[number % len(references)]
        try:
            stop_at(run, f"row8-{name}-{number}", name, point, n, group)
        except AssertionError as error:
            receiver = "the group" if group else "the process"
            failures.append(f"{run.name}, {name} at {point} {n} to {receiver}: {error}")
    report(8, name, count, failures, start)


@pytest.mark.parametrize("variant", ["plain", "both"])
def test_a_second_interrupt_ends_the_run_at_once(variant):
    run, run_id = reference(variant), f"row8-twice-{variant}"
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    life = project().start(*words, point="step", n=17, hold=30)
    life.wait_for_mark()
    for _ in range(2):
        life.send(signal.SIGINT, group=True)
        time.sleep(0.3)
    sent = time.monotonic()
    done = life.wait()
    assert (done.code, time.monotonic() - sent < 3) == (130, True), done
    assert "Traceback" not in done.err
    run.compare(run_id)
    run.finish(run_id)
