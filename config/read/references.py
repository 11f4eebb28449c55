"""Replaces every ``${key.path}`` in a config by the value of that key."""

from __future__ import annotations

import re
from typing import Any

from config.read.merge import get_value
from config.read.source import MAX_DEPTH, MAX_VALUES
from config.read.tree import ConfigError, Finding, Keys, Tree

# References to references can double a text at each step, so a small file could fill the memory.
MAX_TEXT_CHARS = 100_000
MAX_CHARS = 10 * MAX_TEXT_CHARS  # of all texts with references

_REFERENCE = re.compile(r"(\$+)\{([^{}]*)\}")  # a second $ makes it plain text


def interpolate(tree: Tree) -> set[str]:
    """Replaces all references. A text that is a single reference takes the type of the value.

    Returns:
        The top-level keys that were referenced.

    Raises:
        ConfigError: references that name no key or form a circle; the error lists all of them.
    """
    resolver = _Resolver(tree)
    data = resolver.resolve(tree.data, (), ())
    if resolver.findings:
        raise ConfigError(resolver.findings)
    tree.unresolved, tree.data = tree.data, data
    return resolver.used


def escape_references(value: Any) -> Any:
    """Returns a copy of plain values in which ``interpolate`` finds no reference.

    ``${x}`` becomes ``$${x}``, which ``interpolate`` turns back.
    """
    if isinstance(value, dict):
        return {key: escape_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escape_references(item) for item in value]
    return _REFERENCE.sub(r"$\g<0>", value) if isinstance(value, str) else value


class _Resolver:
    """Resolves the references of one tree, and limits the number of values and characters.

    Attributes:
        used: the top-level keys that were referenced.
        findings: the errors found.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.used: set[str] = set()
        self.findings: list[Finding] = []
        self._n_values = 0
        self._n_chars = 0

    def resolve(self, node: Any, keys: Keys, above: tuple[str, ...]) -> Any:
        """Returns a copy of ``node`` with its references replaced.

        Args:
            node: the value.
            keys: where the outermost reference, or the value itself, was written.
            above: the references that are being followed, the outermost first.
        """
        self._n_values += 1
        if self._n_values > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} values when all ${{…}} are unfolded"
            raise self.tree.error(keys, message)
        if isinstance(node, dict):
            return {key: self.resolve(value, (*keys, key), above) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolve(item, (*keys, index), above) for index, item in enumerate(node)]
        if not isinstance(node, str):
            return node
        try:
            return self._resolve_text(node, keys, above)
        except ConfigError as error:
            if above:
                raise  # reported where the outermost reference was written
            self.findings += error.findings
            return None

    def _resolve_text(self, text: str, keys: Keys, above: tuple[str, ...]) -> Any:
        if "${" not in text:
            return text
        too_long = f"longer than {MAX_TEXT_CHARS:,} characters when its ${{…}} are unfolded"
        if self._n_chars > MAX_CHARS:
            raise self.tree.error(keys, too_long)
        match = _REFERENCE.fullmatch(text)
        if match and match[1] == "$":
            return self._follow(match[2].strip(), keys, above)

        def replace(match: re.Match[str]) -> str:
            if match[1] != "$":
                return match[0][1:]
            return str(self._follow(match[2].strip(), keys, above))

        resolved = _REFERENCE.sub(replace, text)
        if resolved != text:
            self._n_chars += len(resolved)
        if len(resolved) > MAX_TEXT_CHARS or self._n_chars > MAX_CHARS:
            raise self.tree.error(keys, too_long)
        return resolved

    def _follow(self, path: str, keys: Keys, above: tuple[str, ...]) -> Any:
        """Returns the resolved value of the key ``path``."""
        if len(above) > MAX_DEPTH:
            raise self.tree.error(keys, f"${{{path}}}: a chain of more than {MAX_DEPTH}")
        if path in above:
            circle = " -> ".join((*above, path))
            raise self.tree.error(keys, f"${{{path}}} goes in a circle: {circle}")
        try:
            value = get_value(self.tree.data, path.split("."))
        except KeyError as error:
            message = f"${{{path}}}: the config has no such key{error.args[0]}"
            raise self.tree.error(keys, message) from None
        self.used.add(path.partition(".")[0])
        return self.resolve(value, keys, (*above, path))
