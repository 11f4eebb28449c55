"""Collects what is wrong with a config, and which parameter takes each of its values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from config.read.tree import MAX_FINDINGS_SHOWN, Finding, Keys, Tree, split_keys
from utils.errors import UserError, did_you_mean, is_typo_of

T = TypeVar("T")


def find_typo(key: str, known: Iterable[str]) -> str:
    """Returns a hint if ``key`` looks like a misspelt known key.

    A project's own key, such as ``optimizer_D``, gives no hint.
    """
    for choice in known:
        rest = key.removeprefix(choice) if key.startswith(choice) else key.removesuffix(choice)
        is_extended = rest != key and (not rest.islower() or "_" in rest)
        if not is_extended and is_typo_of(key, choice):
            return did_you_mean(key, known)
    return ""


def suggests(hints: Iterable[str], name: str) -> bool:
    """Whether a "did you mean" hint names ``name``, which is then misspelt and not missing."""
    return any(f"'{name}'" in hint for hint in hints)


class Findings:
    """What a check has found in a config.

    Attributes:
        findings: the errors, in the order of the checks.
        takers: for every argument, given or not, the owner's dotted name and the parameter.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.findings: list[Finding] = []
        self.takers: dict[Keys, tuple[str, inspect.Parameter]] = {}

    def fail(self, keys: Keys, message: str) -> None:
        """Notes a finding at ``keys``."""
        # If an override has set a value below `keys`, that is the likely cause.
        overrides = [inner for inner in self.tree.raw if inner[: len(keys)] == keys]
        mark = self.tree.mark(overrides[-1] if overrides else keys)
        self.findings.append(Finding(mark, keys, message))

    def suggest(self, word: str, choices: Iterable[str]) -> str:
        """Returns ``did_you_mean(word, choices)``; empty for a finding that is not shown."""
        return did_you_mean(word, choices) if len(self.findings) < MAX_FINDINGS_SHOWN else ""

    def collect_problems(self, keys: Keys, function: Callable[..., T], *args: Any) -> T | None:
        """Returns ``function(*args)``, or None if it raises UserError, whose problems are noted.

        The keys of the problems are relative to ``keys``.
        """
        try:
            return function(*args)
        except UserError as error:
            for problem in error.problems:
                self.fail((*keys, *split_keys(problem.key)), problem.message)
            return None

    def add_takers(
        self, owner: str, parameters: Mapping[str, inspect.Parameter], keys: Keys
    ) -> None:
        """Notes that ``owner`` takes the arguments below ``keys``."""
        self.takers |= {(*keys, name): (owner, item) for name, item in parameters.items()}
