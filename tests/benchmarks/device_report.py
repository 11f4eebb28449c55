"""What the device benchmarks found: a summary of the rows of a case, and its table."""

from __future__ import annotations

import statistics
from typing import Any

from tests.benchmarks.table import print_table

ORDER = ("limit", "ours", "plain", "Accelerate", "Lightning")


def summarize(case: str, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the figures of each arm, in lists with one number for each round.

    ``figures`` are steps per second, or for the case ``start`` seconds. ``waits`` are the fractions
    of a step in which the device waits for data. ``gaps_ms`` are the times between a step and the
    next batch, on data of the machine and on resident batches.
    """
    summary: dict[str, dict[str, Any]] = {}
    for arm in ORDER:
        found = [row for row in rows if (row["case"], row["arm"]) == (case, arm)]
        real = [row for row in found if row["word"] == "loader"]
        resident = {row["round"]: row for row in found if row["word"] == "resident"}
        if not real:
            continue
        pairs = [(row, resident[row["round"]]) for row in real if row["round"] in resident]
        is_start = case == "start"
        summary[arm] = {
            "figures": [r["seconds"] if is_start else r["steps"] / r["seconds"] for r in real],
            "peak_mb": max(row.get("peak_mb", 0.0) for row in real),
            "waits": [1 - second["seconds"] / first["seconds"] for first, second in pairs],
            "gaps_ms": [
                (first["gap_ms"], second["gap_ms"])
                for first, second in pairs
                if first["gap_ms"] is not None
            ],
        }
    return summary


def show(case: str, summary: dict[str, dict[str, Any]]) -> None:
    """Prints the table of a case."""
    figures = {arm: row["figures"] for arm, row in summary.items()}
    rounds = max((len(row) for row in figures.values()), default=0)
    if case == "start":
        print_table(f"Command to first step on the device, s, medians of {rounds} rounds", figures)
        return
    more = {"peak memory, MB": [f"{row['peak_mb']:.0f}" for row in summary.values()]}
    if any(row["waits"] for row in summary.values()):
        more["waits for data"] = [describe_waits(row) for row in summary.values()]
        more["gap, resident, ms"] = [describe_gaps(row) for row in summary.values()]
    print_table(f"{case}, steps per second, medians of {rounds} rounds in turn", figures, more)


def describe_waits(row: dict[str, Any]) -> str:
    return f"{100 * statistics.median(row['waits']):.1f} %" if row["waits"] else ""


def describe_gaps(row: dict[str, Any]) -> str:
    if not row["gaps_ms"]:
        return ""
    real, resident = (statistics.median(gaps) for gaps in zip(*row["gaps_ms"], strict=True))
    return f"{real:.2f}, {resident:.2f}"
