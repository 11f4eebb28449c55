"""Studies for tests: a space of all kinds of values, and a score."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from base.groups.options import SearchOptions
from base.groups.plan.space import Choices, Range
from base.groups.study.study import Study
from base.tools.run_record import Objective

ARCHITECTURES = [{"type": "SmallNet"}, {"type": "SmallNet", "args": {"width": 2}}]
SPACE = {
    "arch": Choices(ARCHITECTURES),
    "optimizer.args.lr": Range(1e-4, 1e-1, log=True),
    "model.width": Range(8, 64, step=8, is_integer=True),
    "loss.smoothing": Range(0.0, 0.3, step=0.1),
    "seedy": Choices([1, 1.0, True, "1", None]),
}


def make_study(
    folder: Path, space: Any = SPACE, seed: int = 1, name: str = "digits/lr", **options: Any
) -> Study:
    """Makes a study that minimises; ``options`` are those of the section ``search``."""
    options = {"sampler": "tpe", "trials": 16, "pruner": None, "storage": None} | options
    section = SearchOptions(space={}, **options)
    objective = Objective("min", "val_loss")
    return Study(name, section.storage, folder, section, space, objective, seed)


def score_of(values: Any) -> float:
    """A function of the values to minimise, with its best value inside of the ranges."""
    return (
        abs(math.log10(values["optimizer.args.lr"]) + 2)
        + abs(values["model.width"] - 32) / 32
        + (values["arch"] == ARCHITECTURES[1])
        + (values["loss.smoothing"] - 0.1) ** 2
    )


def run_trials(study: Study, count: int) -> None:
    """Proposes and finishes ``count`` trials."""
    for _ in range(count):
        number = study.propose()
        assert number is not None
        study.finish(number, score_of(study.list_trials()[number].values))


def list_values(study: Study) -> list[Any]:
    return [trial.values for trial in study.list_trials()]
