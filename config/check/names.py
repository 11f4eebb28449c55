"""Checks the names under which losses and metrics are logged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from config.check.checker import Checker, get_name
from config.check.shapes import PHASES, get_phase


def check_names(checker: Checker, nodes: list[Any], key: str, taken: Iterable[str]) -> None:
    """Checks the names of losses, or those of the metrics of each phase."""
    known = {phase: set(taken) for phase in PHASES}
    for index, node in enumerate(nodes):
        name, phase = get_name(node), get_phase(node)
        phases = [phase] if phase else PHASES
        if any(name in known[phase] for phase in phases):
            what = "loss" if key == "loss" else "metric"
            message = f"the name '{name}' is taken; give this {what} another \"name\""
            checker.fail((key, index), message)
        if not name.isprintable():
            checker.fail((key, index), "the name has control characters")
        for phase in phases:
            known[phase].add(name)
