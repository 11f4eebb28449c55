"""The section ``search``: tries values of a config in many runs, and finds the best ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from base.groups.options import SearchOptions
from base.groups.plan.engine import SLOTS
from utils.options import SectionFeature


class Search(SectionFeature):
    """Registers the section ``search``."""

    section = "search"
    options_type = SearchOptions
    slots = SLOTS


def run(config: Any, make_trainer: Callable[..., Any]) -> None:
    """Runs the trials of a search. The entry of train.py."""
    from base.groups.running.trials import search

    search(config)
