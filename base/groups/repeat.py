"""The section ``repeat``: the same config with several seeds, on several folds, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from base.groups.options import RepeatOptions
from utils.options import SectionFeature


class Repeat(SectionFeature):
    """Registers the section ``repeat``."""

    section = "repeat"
    options_type = RepeatOptions


def run(config: Any, make_trainer: Callable[..., Any]) -> None:
    """Trains all runs of a repetition, and summarises them. The entry of train.py."""
    from base.groups.running.repetition import repeat

    repeat(config)
