"""Compares TPE with random search on a stated problem, and measures the cost of a proposal.

Run by hand: ``python tests/benchmarks/samplers.py``. The problem has four parameters, as of an
optimizer: the sum of squared distances from the best learning rate and weight decay (in decades),
width (in octaves) and dropout. Each search has 40 trials; the score of a search is its best one.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from base.groups.options import SearchOptions
from base.groups.plan.space import Range, Space
from base.groups.study.study import Study
from base.tools.run_record import Objective

NUM_TRIALS, NUM_SEEDS = 40, 10
SPACE: Space = {
    "lr": Range(1e-5, 1.0, log=True),
    "weight_decay": Range(1e-6, 1e-1, log=True),
    "width": Range(8, 512, log=True, is_integer=True),
    "dropout": Range(0.0, 0.9),
}


def score_of(values: Mapping[str, Any]) -> float:
    """The number to minimise."""
    return float(
        (math.log10(values["lr"]) + 2.5) ** 2
        + (math.log10(values["weight_decay"]) + 4) ** 2
        + (math.log2(values["width"]) - 7) ** 2
        + (10 * (values["dropout"] - 0.3)) ** 2 / 4
    )


def make_study(folder: Path, sampler: Any, trials: int, seed: int) -> Study:
    """Makes a study in ``folder``."""
    options = SearchOptions(space={}, sampler=sampler, trials=trials)
    objective = Objective("min", "val_loss")
    return Study("benchmark/one", None, folder, options, SPACE, objective, seed)


def run_trial(study: Study, number: int | None) -> None:
    """Finishes a trial."""
    assert number is not None
    study.finish(number, score_of(study.list_trials()[number].values))


def run_search(folder: Path, sampler: str, seed: int) -> float:
    """Returns the best score of a search."""
    study = make_study(folder, sampler, NUM_TRIALS, seed)
    while (number := study.propose()) is not None:
        run_trial(study, number)
    return min(trial.score for trial in study.list_trials() if trial.score is not None)


def measure_calls(folder: Path, size: int) -> None:
    """Prints the times of calls with ``size`` trials in the storage."""
    sampler = {"type": "TPESampler", "args": {"n_startup_trials": size}}
    study = make_study(folder, sampler, size + 1, 1)
    for _ in range(size):
        run_trial(study, study.propose())
    times = [time.perf_counter()]
    study = make_study(folder, sampler, size + 1, 1)
    times.append(time.perf_counter())
    study.list_trials()
    times.append(time.perf_counter())
    number = study.propose()
    times.append(time.perf_counter())
    run_trial(study, number)
    times.append(time.perf_counter())
    names = ("open", "first list", "propose", "list and finish")
    pairs = zip(names, times, times[1:], strict=False)
    shown = ", ".join(f"{name} {1000 * (end - start):.0f} ms" for name, start, end in pairs)
    print(f"{size:5} trials: {shown}", flush=True)


def main() -> None:
    """Prints the best score of each search."""
    wins = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(NUM_SEEDS):
            tpe = run_search(Path(folder) / f"tpe-{seed}", "tpe", seed)
            uniform = run_search(Path(folder) / f"random-{seed}", "random", seed)
            wins += tpe < uniform
            print(f"seed {seed}: tpe {tpe:.4f}, random {uniform:.4f}", flush=True)
        print(f"TPE is better in {wins} of {NUM_SEEDS} seeds", flush=True)
        for size in (10, 100, 1000):
            measure_calls(Path(folder) / str(size), size)


if __name__ == "__main__":
    main()
