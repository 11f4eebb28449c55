"""A table of arms that are measured in turn: their medians, and the ratios to the limit."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.benchmarks.peers import ARMS, PACKAGES


def is_installed(arm: str) -> bool:
    """Whether an arm needs no package, or its package is installed."""
    return arm not in PACKAGES or importlib.util.find_spec(PACKAGES[arm]) is not None


def compare(title: str, unit: str, rounds: int, measure: Callable[[str], float]) -> None:
    """Measures the limit, ours, and every installed peer; prints a table.

    Args:
        title: what is measured.
        unit: of the figures.
        rounds: measurements of each arm.
        measure: returns the figure of an arm.
    """
    arms = filter(is_installed, ["limit", "ours", *ARMS])
    rows: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, row in rows.items():
            row.append(measure(arm))
    print_table(f"{title}, {unit}, medians of {rounds} rounds in turn", rows)


def print_table(
    title: str, rows: Mapping[str, Sequence[float]], more: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Prints the median, the spread and the ratio to the limit of each arm.

    Args:
        title: the line above the table.
        rows: the figures of each arm.
        more: additional columns by their title, with a text for each arm.
    """
    more = more or {}
    medians = {arm: statistics.median(row) for arm, row in rows.items()}
    print(f"\n{title}\n")
    columns = ["", "median", "min to max", "/ limit", *more]
    print("| " + " | ".join(columns).lstrip() + " |")
    print("| " + " | ".join(["---"] * len(columns)) + " |")
    for index, (arm, row) in enumerate(rows.items()):
        ratio = f"{medians[arm] / medians['limit']:.2f}" if "limit" in medians else "?"
        spread = f"{min(row):.4g} to {max(row):.4g}"
        cells = [
            arm,
            f"{medians[arm]:.4g}",
            spread,
            ratio,
            *(texts[index] for texts in more.values()),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
