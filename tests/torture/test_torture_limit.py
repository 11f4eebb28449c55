"""Row 12: a run under a time limit has its checkpoint on the disk before the limit, however slow saving is."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.torture.harness import newest, project, small, times


def seconds_left(run_id: str, limit: float, config: str, **hooks: object) -> float:
    """Lets a run come to its limit; returns how long before it the newest checkpoint was durable."""
    events = project().folder / f"{run_id}.events"
    done = project().run("train.py", "-c", config, "--run-id", run_id, events=str(events), **hooks)
    assert done.code == 75, f"status {done.code}\n{done.err[-2000:]}"
    told = [line.split() for line in events.read_text().splitlines()]
    made = float(next(at for name, at in told if name == "made"))
    durable = float([at for name, at in told if name.startswith("checkpoint")][-1])
    assert newest(project().run_folder(run_id))["step"] > 0, "no step was trained"
    assert not list(project().run_folder(run_id).rglob("*.tmp"))
    return made + limit - durable


# Saves by steps, asynchronous ones, those of epochs (slow from the 4th on), and none before the limit.
KINDS: list[tuple[int, dict[str, Any]]] = [
    (1, {"save_steps": 20}),
    (1, {"save_steps": 20, "async_save": True}),
    (4, {"save_steps": None}),
    (1, {"save_steps": None, "save_period": 400, "monitor": "off"}),
]


def test_the_checkpoint_is_durable_before_the_limit():
    start, draw, count = time.monotonic(), random.Random(12), times(20, 4)
    failures, left = [], []
    for number in range(count):
        first, options = KINDS[number % len(KINDS)]
        slow = draw.uniform(0.1, 0.7)
        limit = 2 * slow + 1 + draw.uniform(1.0, 2.0)
        config = small(
            workers=number // 2 % 2 * 2, epochs=400, pause=0.01, max_minutes=limit / 60, **options
        )
        try:
            name = project().config(f"row12-{number}", config)
            left.append(seconds_left(f"row12-{number}", limit, name, slow=slow, slow_from=first))
            assert left[-1] > 0, f"durable {-left[-1]:.2f} s after the limit"
        except AssertionError as error:
            failures.append(
                f"a limit of {limit:.1f} s, saves of {slow:.1f} s from number {first} on: {error}"
            )
    seconds = time.monotonic() - start
    print(
        f"row 12: time limit with a slow save, {count} times, {len(failures)} failures, {seconds:.0f} s"
    )
    print(f"the checkpoint was durable {min(left, default=0):.2f} s before the limit or more")
    assert not failures, "\n".join(failures)


def test_a_save_that_has_become_slow_is_reckoned_with():
    """Measured at the start it takes no time, from the second one on 1.8 s: more than is held in reserve for that."""
    options = {"save_steps": 40, "save_period": 400, "monitor": "off"}
    config = small(epochs=400, pause=0.01, max_minutes=8 / 60, **options)
    left = seconds_left(
        "row12-slower", 8, project().config("row12-slower", config), slow=1.8, slow_from=2
    )
    assert left > 0, f"durable {-left:.2f} s after the limit"
