"""Errors that a user can cause: the program prints their text, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# In errors of torch, cuBLAS and cuDNN that have no class of their own for it.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


class Problem(NamedTuple):
    """One thing that is wrong, and its config key; the key is empty if there is none."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class UserError(ValueError):
    """A mistake in a config, a path, an argument or the data.

    The text names the error, its location, and the valid choices or the next step.

    Args:
        message: the text without the key; or several problems, each with its key.
        key: the config key that is wrong, such as ``trainer.warmup_steps``, or an empty string.

    Attributes:
        problems: one or more; the text of the error has a line for each.
    """

    def __init__(self, message: str | Iterable[Problem], key: str = "") -> None:
        problems = [Problem(key, message)] if isinstance(message, str) else message
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def _render_traceback_(self) -> list[str]:
        """Returns the lines that a notebook shows in place of a traceback."""
        return str(self).split("\n")

    def under(self, section: str) -> UserError:
        """The same error with its keys inside ``section``: ``lr`` becomes ``optimizer.lr``."""
        return UserError(
            Problem(".".join(filter(None, (section, problem.key))), problem.message)
            for problem in self.problems
        )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns `` (did you mean 'x'?)`` for the choice nearest to ``word``, or an empty string.

    The case of letters only decides between choices that are otherwise equally near. Of equal
    choices, the first one is taken.
    """
    from difflib import SequenceMatcher, get_close_matches  # 5 ms, only in case of an error

    word = str(word)[:80]
    names = list(dict.fromkeys(map(str, choices)))
    lower_names = {name.lower() for name in names}
    cutoff = 0.5 if len(word) <= 2 else 0.6  # with one wrong letter, `lr` is only half alike
    near = get_close_matches(word.lower(), lower_names, n=len(names) or 1, cutoff=cutoff)

    def likeness(name: str) -> tuple[float, bool, float]:
        lower = SequenceMatcher(None, name.lower(), word.lower()).ratio()
        swapped = sorted(name.lower()) == sorted(word.lower())  # difflib counts a swap as two edits
        return lower, swapped, SequenceMatcher(None, name, word).ratio()

    best = max((name for name in names if name.lower() in near), key=likeness, default=None)
    return "" if best is None else f" (did you mean '{best}'?)"


def is_typo_of(word: str, name: str) -> bool:
    """Whether ``word`` is at most one edit away from a short ``name``, or two from a longer one.

    It is meant for words that may also be right, such as the keys of a project. difflib's ratio is
    too coarse: a threshold that finds every typo of ``loss`` also matches ``losses``.
    """
    max_distance = 1 if len(name) < 6 else 2
    if abs(len(word) - len(name)) > max_distance:
        return False  # quicker than the distance
    return edit_distance(word, name) <= max_distance


def edit_distance(a: str, b: str) -> int:
    """The number of letters to insert, delete, replace or swap to turn ``a`` into ``b``.

    Source: optimal string alignment, Boytsov 2011, https://doi.org/10.1145/1963190.1963191.
    """
    previous = [0] * (len(b) + 1)
    row = list(range(len(b) + 1))
    for i, char in enumerate(a):
        before_previous, previous, row = previous, row, [i + 1]
        for j, other in enumerate(b):
            row.append(min(previous[j + 1] + 1, row[j] + 1, previous[j] + (char != other)))
            if i and j and (char, a[i - 1]) == (b[j - 1], other):
                row[-1] = min(row[-1], before_previous[j - 1] + 1)
    return row[-1]


def printable(text: str) -> str:
    """``text`` with a question mark for each character that could control a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def shorten(text: str, limit: int) -> str:
    """``text``, or its first ``limit - 1`` characters with an ellipsis if it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def abbreviate(names: Sequence[str], limit: int = 3) -> str:
    """Joins the first ``limit`` names for a message, with an ellipsis for the rest."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def text_of(value: object) -> str:
    """``str(value)``, or the name of its class if that fails."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} without a text>"


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of ``error`` on one line, without control characters, at most ``limit`` long.

    An error without a text gives the name of its class.
    """
    words = " ".join(text_of(error).split())
    return shorten(printable(words or type(error).__name__), limit)


def name_error(error: BaseException) -> str:
    """The class and the text of ``error`` on one line; a UserError needs no class."""
    text, name = one_line(error), type(error).__name__
    return text if isinstance(error, UserError) or text == name else f"{name}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory left for a tensor, on a device or on the CPU."""
    is_typed = type(error).__name__ == "OutOfMemoryError"
    return is_typed or any(text in text_of(error) for text in OUT_OF_MEMORY)
