"""Row 8: a run that is asked to stop saves within one step, says by its status why, and goes on to the same bits."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.torture.harness import newest, project, times
from tests.torture.kill_runs import VARIANTS, Reference, reference

STATUS = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 75}
PASSAGES = {
    "step": 30,
    "validation": 12,
    "save": 5,
    "rename": 5,
    "metrics": 3,
    "epoch": 3,
}  # in a whole run, at least


def asked_to_stop(run: Reference, run_id: str, name: str, place: str, n: int, group: bool) -> None:
    """Sends a signal at a place, to the run alone or as a terminal does to its workers too."""
    events = project().folder / f"{run_id}.events"
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    life = project().start(*words, place=place, n=n, hold=0.1, events=str(events))
    steps = life.at_mark()
    assert steps is not None, "the run ended before"
    sent = time.monotonic()
    life.send(getattr(signal, name), group)
    done = life.wait()
    seconds = time.monotonic() - sent
    assert done.code == STATUS[name], f"status {done.code}\n{done.err[-2000:]}"
    assert not done.err, done.err
    found = newest(project().run_folder(run_id))["step"]
    assert steps <= found <= steps + 1, f"asked after {steps} steps, the checkpoint is of {found}"
    names = [line.split()[0] for line in events.read_text().splitlines()]
    after = names[names.index("mark") :]
    assert after.count("save") <= 1, f"more than one save: {after}"
    assert after.count("step") <= run.accumulation, f"more than one step: {after}"
    assert after.count("validation") == 0, f"validates on: {after}"
    assert seconds < 5, f"took {seconds:.1f} s to leave"
    run.compare(run_id)
    run.finish(run_id)


@pytest.mark.parametrize("name", STATUS)
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bits(name):
    start, failures, count = time.monotonic(), [], times(50, 6)
    references = [reference(variant) for variant in VARIANTS]
    draw = random.Random(8)
    for number in range(count):
        place = (
            list(PASSAGES)[number % len(PASSAGES)]
            if number % 2
            else ("step", "validation", "save")[number % 3]
        )
        n, group = draw.randint(1, PASSAGES[place]), number % 4 < 2
        run = references[number % len(references)]
        try:
            asked_to_stop(run, f"row8-{name}-{number}", name, place, n, group)
        except AssertionError as error:
            failures.append(f"{run.name}, {name} at {place} {n}{' to the group' * group}: {error}")
    print(
        f"row 8: {name}, {count} times, {len(failures)} failures, {time.monotonic() - start:.0f} s"
    )
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("variant", ["plain", "both"])
def test_a_second_interrupt_leaves_at_once(variant):
    run, run_id = reference(variant), f"row8-twice-{variant}"
    words = ["train.py", "-c", run.config, "--run-id", run_id]
    life = project().start(*words, place="step", n=17, hold=30)
    life.at_mark()
    for _ in range(2):
        life.send(signal.SIGINT, group=True)
        time.sleep(0.3)
    sent = time.monotonic()
    done = life.wait()
    assert (done.code, time.monotonic() - sent < 3) == (130, True), done
    assert "Traceback" not in done.err
    run.compare(run_id)
    run.finish(run_id)
