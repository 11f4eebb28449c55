"""A table of arms that are measured in turn: their medians, and the ratios to the limit."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable

from tests.benchmarks.peers import ARMS, PACKAGES


def compare(title: str, unit: str, rounds: int, measure: Callable[[str], float]) -> None:
    """Measures the limit, ours, and every installed peer; prints a table.

    Args:
        title: what is measured.
        unit: of the figures.
        rounds: measurements of each arm.
        measure: returns the figure of an arm.
    """
    arms = ["limit", "ours", *ARMS]
    arms = [arm for arm in arms if arm not in PACKAGES or importlib.util.find_spec(PACKAGES[arm])]
    rows: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, row in rows.items():
            row.append(measure(arm))
    medians = {arm: statistics.median(row) for arm, row in rows.items()}
    print(f"\n{title}, {unit}, medians of {rounds} rounds in turn\n")
    print("| | median | min to max | / limit |")
    print("| --- | --- | --- | --- |")
    for arm, row in rows.items():
        ratio = medians[arm] / medians["limit"]
        spread = f"{min(row):.4g} to {max(row):.4g}"
        print(f"| {arm} | {medians[arm]:.4g} | {spread} | {ratio:.2f} |", flush=True)
