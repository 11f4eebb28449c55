"""Several workers share one search through a PostgreSQL server, and some of them are killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from base.tools.run_record import RunRecord
from tests.base.groups.searches import LR, train, write_config
from tests.ranks import ForkedProgram, list_descendants

optuna = pytest.importorskip("optuna")
SECONDS = 600.0


def kill(worker: ForkedProgram, with_runs: bool) -> None:
    """Kills a worker, as for want of memory, or with its runs, as if its machine had failed."""
    runs = list_descendants(worker.process.pid) if with_runs else []
    for pid in (worker.process.pid, *runs):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("num_rates", "num_widths", "num_workers", "num_kills"),
    [
        pytest.param(4, 3, 3, 1, id="12 points"),
        pytest.param(8, 5, 4, 2, id="40 points", marks=pytest.mark.slow),
    ],
)
def test_workers_that_are_killed_lose_no_point_of_a_grid_and_double_none(
    tmp_path: Path,
    postgres_url: str,
    num_rates: int,
    num_widths: int,
    num_workers: int,
    num_kills: int,
) -> None:
    run_id, draw = f"grid{num_workers}", random.Random(num_workers)
    rates = [0.001 * (index + 1) for index in range(num_rates)]
    widths = list(range(2, 2 + num_widths))
    space = {LR: rates, "arch.args.width": widths}
    config = write_config(tmp_path, search={"space": space, "sampler": "grid"})
    words = ["-c", config, "--run-id", run_id, f"search.storage={postgres_url}"]
    workers = [ForkedProgram("train.py", *words) for _ in range(num_workers)]
    group, points = tmp_path / "saved/small" / run_id, len(rates) * len(widths)
    survivors = list(workers)
    for kill_number in range(num_kills):
        victim = survivors.pop(draw.randrange(len(survivors)))
        first = points * kill_number // num_kills  # one kill in each part of the search
        begun = draw.randint(first + 1, first + points // num_kills // 2)
        victim.until(lambda begun=begun: len(list(group.glob("trial-*"))) >= begun, SECONDS)
        time.sleep(draw.uniform(0, 0.5))
        kill(victim, with_runs=kill_number % 2 == 1)
    for worker in survivors:
        done = worker.end(SECONDS)
        assert done.code == 0, done.err
    done = train(*words)
    assert done.returncode == 0, done.stderr
    assert f"{points} of {points} trials: {points} finished\n" in done.stdout

    trials = optuna.load_study(study_name=f"small/{run_id}", storage=postgres_url).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * points
    found = sorted((trial.params[LR], trial.params["arch.args.width"]) for trial in trials)
    assert found == [(rate, width) for rate in rates for width in widths]
    assert len(list(group.glob("trial-*"))) == points
    for trial in trials:
        run = RunRecord(group / f"trial-{trial.number}")
        outcomes = [session["outcome"] for session in run.sessions]
        assert outcomes.count("finished") == 1, outcomes
        assert [row["epoch"] for row in run.rows] == [1, 2]
        assert run.best is not None
        assert run.best.value == trial.value
        assert run.config["arch"]["args"]["width"] == trial.params["arch.args.width"]
