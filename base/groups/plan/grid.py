"""The points of a grid, and the number of trials of a search."""

from __future__ import annotations

import itertools
import math
from typing import Any

from base.groups.options import SearchOptions
from base.groups.plan.engine import GRID
from base.groups.plan.space import Choices, Space
from utils.errors import Problem
from utils.options import raise_problems

MAX_POINTS = 10_000  # of a grid


def count_trials(search: SearchOptions, space: Space) -> int:
    """Returns the number of trials of a search; 0 if nothing limits them."""
    points = count_points(space) if search.sampler == GRID else None
    limits = [number for number in (search.trials, points) if number is not None]
    return min(limits, default=0)


def count_points(space: Space) -> int | None:
    """Returns the number of points of a grid; None if a range has no step."""
    sizes = list_sizes(space)
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def list_sizes(space: Space) -> list[int | None]:
    """Lists the number of values of each key; None for a range without a step."""
    return [
        len(entry.values) if isinstance(entry, Choices) else entry.num_values
        for entry in space.values()
    ]


def list_points(space: Space) -> list[dict[str, Any]]:
    """Lists the points of a grid: all combinations. The values of the last key vary first.

    Raises:
        UserError: a range has no step, or there are too many points.
    """
    raise_problems(find_wrong_grid(space))
    values = [
        entry.values if isinstance(entry, Choices) else entry.list_values()
        for entry in space.values()
    ]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def find_wrong_grid(space: Space) -> list[Problem]:
    """Returns the reasons why a space has no grid. The keys are those of the space, or empty."""
    problems = [
        Problem(key, "needs a 'step' for a grid, or a list of choices")
        for key, size in zip(space, list_sizes(space), strict=True)
        if size is None
    ]
    number = count_points(space)
    if number is not None and number > MAX_POINTS:
        message = f"the grid has {number:,} points, and the limit is {MAX_POINTS:,}"
        problems.append(Problem("", f"{message}; remove some, or take random or tpe"))
    return problems
