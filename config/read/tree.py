"""The values of a config with the positions where they were written, and errors about them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from utils.errors import Problem, UserError, one_line, shorten

Keys = tuple[str | int, ...]  # the path to a value: ("optimizer", "args", "lr")

MAX_FINDINGS_SHOWN = 20
MAX_FINDING_CHARS = 500
MAX_OVERRIDE_CHARS = 120  # of an override, in an error message


def join_keys(keys: Keys) -> str:
    """Returns the key as it is written: ``thaw.0.epoch``, or ``rename."stem.*"`` with quotes."""
    return ".".join(f'"{key}"' if "." in str(key) else str(key) for key in keys)


def split_words(key: str) -> list[str]:
    """Splits ``rename."stem.*"`` at the dots outside of quotes. An empty key gives no words."""
    if '"' not in key:
        return key.split(".") if key else []
    words = re.split(r'\.(?=(?:[^"]*"[^"]*")*[^"]*$)', key)
    return [word[1:-1] if re.fullmatch('".*"', word, re.DOTALL) else word for word in words]


def split_keys(key: str) -> Keys:
    """Splits ``thaw.0.epoch`` into ``("thaw", 0, "epoch")``. An empty key gives ``()``."""
    return tuple(int(word) if word.isdecimal() else word for word in split_words(key))


class Mark(NamedTuple):
    """Where a key or a value was written.

    Attributes:
        source: the file, or the text of the override.
        line: counted from 1; 0 for an override.
        col: counted from 1; 0 for an override.
    """

    source: str
    line: int = 0
    col: int = 0

    def __str__(self) -> str:
        if self.line:
            return f"{self.source}:{self.line}:{self.col}"
        return shorten(self.source, MAX_OVERRIDE_CHARS) if "=" in self.source else self.source


class Finding(NamedTuple):
    """One thing that is wrong with a config."""

    mark: Mark | None
    keys: Keys
    message: str

    def __str__(self) -> str:
        words = [str(self.mark) if self.mark else "", join_keys(self.keys), self.message]
        text = ": ".join(word for word in words if word)
        return one_line(ValueError(text), MAX_FINDING_CHARS)


class ConfigError(UserError):
    """Everything that is wrong with a config.

    The text has one line for each finding, up to a limit. All are in ``findings``.
    """

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(Problem(join_keys(keys), message) for _, keys, message in findings)
        self.findings = findings
        lines = [str(finding) for finding in findings[:MAX_FINDINGS_SHOWN]]
        if len(findings) > MAX_FINDINGS_SHOWN:
            lines.append(f"and {len(findings) - MAX_FINDINGS_SHOWN} more")
        self.args = ("\n".join(lines),)

    @classmethod
    def at(cls, mark: Mark | None, message: str, keys: Keys = ()) -> ConfigError:
        """Makes an error of one finding."""
        return cls([Finding(mark, keys, message)])


@dataclass
class Tree:
    """The values of a config, and where they come from.

    Attributes:
        data: the values.
        marks: where each key was written.
        raw: the text of every override, before it became a value.
        replaced: the earlier values of each key with their marks, the oldest first.
        unresolved: the values before each ``${…}`` was replaced; None if none was.
        is_saved: whether it is the config of an earlier run, perhaps with changes.
    """

    data: dict[str, Any]
    marks: dict[Keys, Mark] = field(default_factory=dict)
    raw: dict[Keys, str] = field(default_factory=dict)
    replaced: dict[Keys, list[tuple[Mark | None, Any]]] = field(default_factory=dict)
    unresolved: dict[str, Any] | None = None
    is_saved: bool = False

    def note_replaced(self, keys: Keys, value: Any) -> None:
        """Records the value that ``keys`` had until now. Sections and lists are not recorded."""
        if not isinstance(value, dict | list):
            self.replaced.setdefault(keys, []).append((self.mark(keys), value))

    def forget(self, keys: Keys) -> None:
        """Forgets where ``keys`` and everything below were written."""
        length = len(keys)
        self.marks = {path: mark for path, mark in self.marks.items() if path[:length] != keys}
        self.raw = {path: text for path, text in self.raw.items() if path[:length] != keys}

    def mark(self, keys: Keys) -> Mark | None:
        """Returns the mark of ``keys``, or of the nearest section around them."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys)

    def is_overridden(self, keys: Keys) -> bool:
        """Whether the command line has set ``keys``, or a value below them."""
        return any(path[: len(keys)] == keys for path in self.raw)

    def find_override(self, keys: Keys, message: str) -> Keys | None:
        """Returns the override below ``keys`` whose name or value is in a message.

        It returns None if there is no such override, or more than one.
        """
        words = {word.strip(".") for word in re.split(r"[\s,:;=()'\"`]+", message)}
        found = [
            path
            for path, mark in self.marks.items()
            if mark.line == 0
            and path[: len(keys)] == keys != path
            and words & {str(path[-1]), str(self._find_value(path))}
        ]
        return found[0] if len(found) == 1 else None

    def _find_value(self, keys: Keys) -> Any:
        """Returns the value at ``keys``; None if it was replaced or removed later."""
        value: Any = self.data
        for key in keys:
            try:
                value = value[key]
            except (LookupError, TypeError):
                return None
        return value

    def error(self, keys: Keys, message: str) -> ConfigError:
        """Makes an error at ``keys``."""
        return ConfigError.at(self.mark(keys), message, keys)

    def locate(self, error: UserError) -> UserError:
        """Returns ``error`` with file, line and column of every key that the config has.

        The error stays the same if it has them already, or if the config has none of the keys.
        """
        findings = []
        for problem in error.problems:
            keys = split_keys(problem.key)
            mark = self.mark(keys) if keys and keys[0] in self.data else None
            findings.append(Finding(mark, keys, problem.message))
        if isinstance(error, ConfigError) or not any(item.mark for item in findings):
            return error
        return ConfigError(findings)
