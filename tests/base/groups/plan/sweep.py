"""A config with a search, and what the check says about its changes."""

from __future__ import annotations

import copy
from typing import Any

from tests.config.check.small import find, run_check

LR = {"low": 1e-4, "high": 0.1, "log": True}


def make_sections(**changes: Any) -> dict[str, Any]:
    """Returns the sections ``trainer`` and ``search``; the change ``...`` removes a key."""
    search = {"space": {"optimizer.args.lr": LR}, "trials": 3} | changes
    search = {key: value for key, value in search.items() if value is not ...}
    trainer = {"epochs": 1, "monitor": "max val_accuracy"}
    return {"trainer": trainer, "search": copy.deepcopy(search)}


def find_in_search(*overrides: str, **changes: Any) -> list[str]:
    """Returns the lines about a search with changes."""
    return find(*overrides, **make_sections(**changes))


def find_in_space(space: dict[str, Any], **sections: Any) -> list[str]:
    """Returns the lines about a space, in a config with other sections."""
    return find(**make_sections(space=space) | sections)


def check_space(space: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Checks a space in which nothing is wrong. Returns it as the check leaves it."""
    tree = run_check(**make_sections(space=space) | sections)
    checked: dict[str, Any] = tree.data["search"]["space"]
    return checked
