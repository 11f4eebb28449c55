"""The names of the members of a group, which are the names of their folders."""

from __future__ import annotations

import re
from pathlib import Path

MEMBER_NAME = re.compile(r"trial-\d+|seed-\d+(-fold-\d+)?|fold-\d+")


def name_trial(number: int) -> str:
    """Returns the name of a trial of a search, such as ``trial-3``."""
    return f"trial-{number}"


def name_variant(seed: int | None, fold: int | None) -> str:
    """Returns the name of a run of a repetition: ``seed-1``, ``fold-2`` or ``seed-1-fold-2``.

    Args:
        seed: None if the runs do not differ in their seeds.
        fold: None without folds.
    """
    words = [] if seed is None else [f"seed-{seed}"]
    words += [] if fold is None else [f"fold-{fold}"]
    return "-".join(words)


def natural_order(folder: Path) -> list[tuple[str, int]]:
    """Returns the key of a folder in an order that has ``trial-2`` before ``trial-10``."""
    return [(text, int(word or -1)) for text, word in re.findall(r"(\D*)(\d*)", folder.name)]
