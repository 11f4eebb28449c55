"""Finds the modules of a model by patterns of their dotted names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from utils.errors import UserError, abbreviate, did_you_mean

NAMES_SHOWN = 4


def matches_dotted(name: str, pattern: str) -> bool:
    """Whether a dotted name matches a pattern, in which ``*`` does not match a dot."""
    words, globs = name.split("."), pattern.split(".")
    return len(words) == len(globs) and all(map(fnmatchcase, words, globs))


def match_blocks(patterns: Mapping[str, str], names: Collection[str], noun: str) -> set[str]:
    """Returns the names that match one of the patterns.

    Args:
        patterns: by their keys in the config.
        names: of the modules to choose from.
        noun: says what the names are, for the error.

    Raises:
        UserError: a pattern matches nothing.
    """
    found: set[str] = set()
    for key, pattern in patterns.items():
        matching = {name for name in names if matches_dotted(name, pattern)}
        if not matching:
            hint = did_you_mean(pattern, names)
            if names and not hint:
                hint = f"; there are {abbreviate(list(names), NAMES_SHOWN)}"
            raise UserError(f"'{pattern}' matches no {noun}{hint}", key=key)
        found |= matching
    return found
