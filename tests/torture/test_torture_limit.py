"""Row 12: a run under a time limit has its checkpoint on the disk in time, however slow a save."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.torture.harness import load_newest, make_config, project, report, times


def train_to_limit(run_id: str, limit: float, config: str, **hooks: object) -> float:
    """Trains to the limit. Returns the seconds from the newest checkpoint to the limit."""
    events = project().folder / f"{run_id}.events"
    done = project().run("train.py", "-c", config, "--run-id", run_id, events=str(events), **hooks)
    assert done.code == 75, f"status {done.code}\n{done.err[-2000:]}"
    lines = [line.split() for line in events.read_text().splitlines()]
    made = float(next(at for name, at in lines if name == "made"))
    durable = float([at for name, at in lines if name.startswith("checkpoint")][-1])
    assert load_newest(project().run_folder(run_id))["step"] > 0, "no step was trained"
    assert not list(project().run_folder(run_id).rglob("*.tmp"))
    return made + limit - durable


# The number of the first slow save, and options: saves by steps, in the background, by epochs, and
# none before the limit.
KINDS: list[tuple[int, dict[str, Any]]] = [
    (1, {"save_steps": 20}),
    (1, {"save_steps": 20, "async_save": True}),
    (4, {"save_steps": None}),
    (1, {"save_steps": None, "save_period": 400, "monitor": "off"}),
]


def test_the_checkpoint_is_durable_before_the_limit():
    start, draw, count = time.monotonic(), random.Random(12), times(20, 4)
    failures, margins = [], []
    for number in range(count):
        first, options = KINDS[number % len(KINDS)]
        slow = draw.uniform(0.1, 0.7)
        limit = 2 * slow + 1 + draw.uniform(1.0, 2.0)
        options = {"epochs": 400, "pause": 0.01, "max_minutes": limit / 60} | options
        run_id, workers = f"row12-{number}", 2 * (number // 2 % 2)
        config = project().config(run_id, make_config(workers=workers, **options))
        try:
            margins.append(train_to_limit(run_id, limit, config, slow=slow, slow_from=first))
            assert margins[-1] > 0, f"durable {-margins[-1]:.2f} s after the limit"
        except AssertionError as error:
            saves = f"saves of {slow:.1f} s from number {first} on"
            failures.append(f"a limit of {limit:.1f} s, {saves}: {error}")
    print(f"the checkpoint was durable at least {min(margins, default=0):.2f} s before the limit")
    report(12, "time limit with a slow save", count, failures, start)


def test_saves_that_become_slow_move_the_last_one_forward():
    """The save at the start takes no time, and later ones 1.8 s: more than the first reserve."""
    options = {"save_steps": 40, "save_period": 400, "monitor": "off"}
    config = make_config(epochs=400, pause=0.01, max_minutes=8 / 60, **options)
    name = project().config("row12-slower", config)
    margin = train_to_limit("row12-slower", 8, name, slow=1.8, slow_from=2)
    assert margin > 0, f"durable {-margin:.2f} s after the limit"
