"""The options of the sections ``search`` and ``repeat``.

Their names, types and defaults are the schema of these sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.errors import Problem
from utils.options import SectionOptions, raise_problems


@dataclass(frozen=True)
class SearchOptions(SectionOptions):
    """Which values a search tries, and how it chooses them.

    Attributes:
        space: for the dotted key of each value to vary, a list of choices, or a range
            ``{low, high}`` with ``log`` or ``step``.
        sampler: ``grid``, ``random``, ``tpe``, or a sampler of Optuna as ``{type, args}``.
        trials: the number of trials; with ``grid``, null tries every point.
        pruner: stops trials that are not promising: a pruner of Optuna as ``{type, args}``; null
            for none.
        storage: a URL that Optuna takes; null for an SQLite file in the folder of the search.
    """

    space: dict[str, Any]
    sampler: str | dict[str, Any] = "tpe"
    trials: int | None = None
    pruner: str | dict[str, Any] | None = None
    storage: str | None = None


@dataclass(frozen=True)
class RepeatOptions(SectionOptions):
    """How often a config is run, and what differs between the runs.

    Attributes:
        seeds: the number of seeds, which begin at the config's ``seed``, or a list of seeds; null
            for the config's seed only.
        folds: the number of folds of a cross-validation; null for none.
    """

    seeds: int | list[int] | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.seeds is None and self.folds is None:
            problems.append(Problem("", "needs seeds, folds, or both"))
        if self.folds is not None and self.folds < 2:
            problems.append(Problem("folds", f"{self.folds} must be at least 2"))
        raise_problems(problems)

    def list_seeds(self, first: int) -> list[int]:
        """Lists the seeds. A number of seeds begins at ``first``."""
        if isinstance(self.seeds, list):
            return self.seeds
        return [first + index for index in range(1 if self.seeds is None else self.seeds)]
