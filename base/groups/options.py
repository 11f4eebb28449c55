"""The options of the sections ``search`` and ``repeat``.

Their names, types and defaults are the schema of these sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.check.preflight import SEED_BITS
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

    @classmethod
    def check_config(cls, section: Mapping[str, Any], checker: Any) -> None:
        from base.groups.plan.check import check_search  # needed for a search only

        check_search(section, checker)

    def explain(self, config: Any) -> list[str]:
        from base.groups.plan.estimate import describe_plan, describe_space
        from base.groups.plan.space import read_space

        space = read_space(self)
        repeat = config.options("repeat") if config.get("repeat") else None
        is_limited = self.trials is not None or self.sampler == "grid"
        plan = describe_plan(self, repeat, space) if is_limited else []
        return [*describe_space(space), *plan]


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
        if isinstance(self.seeds, int) and self.seeds < 1:
            problems.append(Problem("seeds", f"{self.seeds} must be at least 1"))
        if isinstance(self.seeds, list):
            problems += find_wrong_seeds(self.seeds)
        raise_problems(problems)

    def list_seeds(self, first: int) -> list[int]:
        """Lists the seeds. A number of seeds begins at ``first``."""
        if isinstance(self.seeds, list):
            return self.seeds
        return [first + index for index in range(1 if self.seeds is None else self.seeds)]

    @classmethod
    def check_config(cls, section: Mapping[str, Any], checker: Any) -> None:
        from base.groups.plan.check import check_repeat  # needed for a repetition only

        check_repeat(section, checker)

    def explain(self, config: Any) -> list[str]:
        from base.groups.plan.estimate import describe_plan

        return [] if config.get("search") else describe_plan(None, self, {})


def find_wrong_seeds(seeds: list[int]) -> list[Problem]:
    """Returns what is wrong with a list of seeds."""
    if not seeds:
        return [Problem("seeds", "has no seeds")]
    problems = []
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            problems.append(Problem(f"seeds.{index}", f"the seed {seed} is given twice"))
        elif seed < 0:
            problems.append(Problem(f"seeds.{index}", f"{seed} must not be negative"))
        elif seed.bit_length() > SEED_BITS:
            problems.append(Problem(f"seeds.{index}", f"is over {SEED_BITS} bits"))
    return problems
