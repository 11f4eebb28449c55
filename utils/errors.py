"""The one kind of error that a user can cause: it ends a program in a line, not in a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, and the config key that it belongs to (empty if to none)."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class UserError(ValueError):
    """A mistake in a config, a path, an argument or the data.

    The text says what is wrong, where, and the valid choices or the next step.

    Args:
        message: the text without the key; or several problems, each with a key of its own.
        key: the config key that is wrong, as ``trainer.warmup_steps``; empty if there is none.

    Attributes:
        problems: one or more. The error's text has a line for each.
    """

    def __init__(self, message: str | Iterable[Problem], key: str = "") -> None:
        single = [Problem(key, message)] if isinstance(message, str) else message
        self.problems: tuple[Problem, ...] = tuple(single)
        super().__init__("\n".join(map(str, self.problems)))

    def under(self, section: str) -> UserError:
        """The same error with the keys inside ``section``: ``lr`` becomes ``optimizer.lr``."""
        keys = (".".join(filter(None, (section, problem.key))) for problem in self.problems)
        return UserError(
            Problem(key, problem.message) for key, problem in zip(keys, self.problems, strict=True)
        )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns `` (did you mean 'x'?)`` for the choice nearest to ``word``, or an empty string."""
    from difflib import SequenceMatcher  # 5 ms that only an error pays

    if not word:
        return ""
    word, names = str(word)[:80], list(dict.fromkeys(str(choice) for choice in choices))
    distances = {
        name: edit_distance(word.lower(), name.lower())
        for name in names
        if len(name) <= 2 * len(word) + 4
    }
    likeness = {
        name: SequenceMatcher(None, word.lower(), name.lower()).ratio() for name in distances
    }
    close = [
        name
        for name in distances
        if distances[name] <= max(1, len(name) // 3) or likeness[name] >= 0.7
    ]
    best = min(
        close,
        key=lambda name: (distances[name], edit_distance(word, name), -likeness[name]),
        default=None,
    )
    return f" (did you mean '{best}'?)" if best is not None else ""


def edit_distance(a: str, b: str) -> int:
    """Letters to insert, delete, replace or swap with their neighbour to turn ``a`` into ``b``.

    Source: optimal string alignment, Boytsov 2011, https://doi.org/10.1145/1963190.1963191.
    """
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, char in enumerate(a):
        older, before, row = before, row, [i + 1]
        for j, other in enumerate(b):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (char != other)))
            if i and j and (char, a[i - 1]) == (b[j - 1], other):
                row[-1] = min(row[-1], older[j - 1] + 1)
    return row[-1]


def printable(text: str) -> str:
    """``text`` without what could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of ``error`` on one line, without control characters, cut at ``limit`` characters."""
    text = printable(" ".join(str(error).split()) or type(error).__name__)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU under a limit, had no more memory for a tensor."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
