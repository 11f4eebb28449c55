"""One row of figures: arms measured in turn, medians, and their ratio to the limit."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable

from tests.benchmarks.peers import ARMS, PACKAGES


def compare(what: str, unit: str, rounds: int, measure: Callable[[str], float]) -> dict[str, float]:
    """Prints ``what`` for the limit, ours, and every peer that is installed; gives the medians."""
    arms = ["limit", "ours", *ARMS]
    arms = [arm for arm in arms if arm not in PACKAGES or importlib.util.find_spec(PACKAGES[arm])]
    rows: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, row in rows.items():
            row.append(measure(arm))
    medians = {arm: statistics.median(row) for arm, row in rows.items()}
    print(
        f"\n{what}, {unit}, medians of {rounds} rounds in turn\n\n| | median | min to max | / limit |"
    )
    print("| --- | --- | --- | --- |")
    for arm, row in rows.items():
        ratio = medians[arm] / medians["limit"]
        print(
            f"| {arm} | {medians[arm]:.4g} | {min(row):.4g} to {max(row):.4g} | {ratio:.2f} |",
            flush=True,
        )
    return medians
