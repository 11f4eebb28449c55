"""The space of a search: which values each key of the config may take."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeGuard

from base.groups.options import SearchOptions
from config.check.shapes import is_comment
from config.read.text import to_text
from config.read.tree import Keys, split_words
from utils.errors import Problem, UserError, did_you_mean, shorten
from utils.options import raise_problems

MAX_CHOICES = 1000  # of one key
MAX_INTEGER = 2**53  # Optuna keeps numbers as floats
MAX_LABEL_CHARS = 60
RANGE_KEYS = ("low", "high", "log", "step")


class Choices(NamedTuple):
    """The values of a key, of any JSON type, also parts of the config such as ``{"type": …}``."""

    values: list[Any]


class Range(NamedTuple):
    """The numbers from ``low`` to ``high``, both included.

    Attributes:
        log: draw the logarithm uniformly.
        step: the distance between two values; None for any value, or any integer.
        is_integer: whether the values are integers.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    is_integer: bool = False

    @property
    def num_values(self) -> int | None:
        """The number of values; None without a step."""
        if self.step is None:
            return None
        return int((_exact(self.high) - _exact(self.low)) / _exact(self.step)) + 1

    def list_values(self) -> list[Any]:
        """Lists the values. There is a step."""
        low, step = _exact(self.low), _exact(self.step)
        values = [low + index * step for index in range(self.num_values or 0)]
        return [int(value) if self.is_integer else float(value) for value in values]


Entry = Choices | Range
Space = Mapping[str, Entry]


def read_space(options: SearchOptions) -> Space:
    """Reads the space of a search, by dotted key: shorter keys first, else in the config's order.

    A key may lie inside another one, which is then set before it. A range is one of integers if
    all its numbers are: the check of a config has made those of a float parameter floats.

    Raises:
        UserError: entries are wrong; it lists all problems, with keys such as ``space."a.b".low``.
    """
    problems: list[Problem] = []
    space: dict[str, Entry] = {}
    for key in sorted(list_keys(options.space), key=lambda key: len(split_words(key))):
        try:
            space[key] = read_entry(options.space[key])
        except UserError as error:
            problems += error.under(f'space."{key}"').problems
    if not options.space:
        problems.append(Problem("space", "is empty; name the key of each value to vary"))
    raise_problems(problems)
    return space


def list_keys(space: Mapping[str, Any]) -> list[str]:
    """Lists the keys of a space without comments."""
    return [key for key in space if not is_comment(key)]


def read_entry(value: Any) -> Entry:
    """Reads a list of choices, or a range.

    Raises:
        UserError: with keys relative to the entry.
    """
    if isinstance(value, list):
        raise_problems(_find_wrong_choices(value))
        return Choices(value)
    if not isinstance(value, dict):
        raise UserError(f"must be a list of choices or a range {{low, high}}, not {value!r}")
    raise_problems(find_wrong_range(value))
    numbers = [value[key] for key in ("low", "high", "step") if value.get(key) is not None]
    is_integer = all(type(number) is int for number in numbers)
    return Range(value["low"], value["high"], bool(value.get("log")), value.get("step"), is_integer)


def _find_wrong_choices(values: list[Any]) -> list[Problem]:
    if not values:
        return [Problem("", "has no choices")]
    if len(values) > MAX_CHOICES:
        message = f"has {len(values):,} choices, and the limit is {MAX_CHOICES:,}"
        return [Problem("", f"{message}; a range {{low, high, step}} may hold more")]
    problems = []
    for index, value in enumerate(values):
        # As Optuna compares them: `true` equals 1.
        same = [i for i, other in enumerate(values[:index]) if label(other) == label(value)]
        if same:
            shown = json.dumps(value, ensure_ascii=False)
            message = f"{shorten(shown, 80)} is the same choice as number {same[0] + 1}"
            problems.append(Problem(str(index), message))
    return problems


def find_wrong_range(value: Mapping[str, Any]) -> list[Problem]:
    """Returns what is wrong with a range ``{low, high, log, step}``."""
    if value and not any(did_you_mean(key, RANGE_KEYS) or key in RANGE_KEYS for key in value):
        message = "is neither a range {low, high} nor a list of choices; write the full key with"
        return [Problem("", f"{message} dots, such as optimizer.args.lr")]
    problems = []
    unknown = [key for key in value if key not in RANGE_KEYS and not is_comment(key)]
    for key in unknown:
        hint = did_you_mean(key, RANGE_KEYS)
        problems.append(Problem(f'"{key}"', f"unknown key{hint}; a range has low, high, log, step"))
    for key in ("low", "high"):
        is_hinted = any(did_you_mean(other, RANGE_KEYS).find(f"'{key}'") > 0 for other in unknown)
        if key not in value and not is_hinted:
            problems.append(Problem("", f"needs '{key}'; a range has low, high, log, step"))
    for key in ("low", "high", "step"):
        number = value.get(key)
        if key in value and not (key == "step" and number is None) and not is_number(number):
            problems.append(Problem(key, f"must be a finite number, not {number!r}"))
        elif type(number) is int and abs(number) > MAX_INTEGER:
            problems.append(Problem(key, f"must be at most 2**53, not {number}"))
    if not isinstance(value.get("log"), bool | None):
        problems.append(Problem("log", f"must be true or false, not {value['log']!r}"))
    if problems or not all(key in value for key in ("low", "high")):
        return problems
    return list(_find_wrong_numbers(value["low"], value["high"], value))


def _find_wrong_numbers(low: float, high: float, value: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields what is wrong with the numbers of a range, which are numbers."""
    step, log = value.get("step"), value.get("log")
    if low == high:
        yield Problem("", f"low and high are both {low}, so there is nothing to vary")
    elif low > high:
        yield Problem("", f"low must be below high, and {low} is above {high}")
    if log and low <= 0:
        yield Problem("low", f"{low} must be above 0 with log: true")
    if log and step is not None:
        yield Problem("step", "cannot be combined with log; list the values instead")
    if step is not None and step <= 0:
        yield Problem("step", f"{step} must be above 0")
    elif step is not None and low < high:
        rest = (_exact(high) - _exact(low)) % _exact(step)
        last = _exact(high) - rest
        if last == _exact(low):
            yield Problem("step", f"{step} is longer than the range from {low} to {high}")
        elif rest:
            yield Problem("step", f"steps of {step} from {low} end at {last}, not at {high}")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number. True and False are none."""
    return type(value) in (int, float) and math.isfinite(value)


def _exact(number: float | None) -> Decimal:
    """Returns the decimal number that a person has written: 0.1 is 1/10."""
    return Decimal(str(number))


# -- keys and labels -------------------------------------------------------------------------------


def get_outer_keys(key: str, space: Mapping[str, Any]) -> list[str]:
    """Lists the keys of a space that ``key`` depends on, the shortest first.

    These are the keys around it, and the ``type`` whose ``args`` it belongs to.
    """
    words = tuple(split_words(key))
    outer = []
    for other in space:
        head: Keys = tuple(split_words(other))
        if head[-1:] == ("type",):
            head = (*head[:-1], "args")
        if 0 < len(head) < len(words) and words[: len(head)] == head:
            outer.append(other)
    return sorted(outer, key=lambda other: len(split_words(other)))


def label(value: Any) -> str | int | float | bool | None:
    """Returns what Optuna and tables see of a value.

    Plain values stay. Parts of the config become a short text: ``ResNet20(width=8)``. Different
    parts have different texts.
    """
    if not isinstance(value, dict | list):
        plain: str | int | float | bool | None = value
        return plain
    text = _describe(value)
    if len(text) <= MAX_LABEL_CHARS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{text[: MAX_LABEL_CHARS - len(digest) - 2]}… {digest}"


def format_value(value: Any) -> str:
    """Formats a value for people: parts of the config by their label, others as in a config."""
    return str(label(value)) if isinstance(value, dict | list) else to_text(value)


def describe_entry(entry: Entry) -> str:
    """Returns the choices, or the ends of a range, as text."""
    if isinstance(entry, Choices):
        return ", ".join(map(format_value, entry.values))
    text = f"{'integers ' if entry.is_integer else ''}from {entry.low:g} to {entry.high:g}"
    if entry.step is not None:
        return f"{text} in steps of {entry.step:g}"
    return f"{text}, on a logarithmic scale" if entry.log else text


def _describe(value: Any) -> str:
    """Describes a value in full: components as calls, everything else as JSON."""
    if isinstance(value, list):
        return f"[{', '.join(map(_describe, value))}]"
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    items = {key: item for key, item in dict.items(value) if not is_comment(str(key))}
    args = items.get("args") or {}
    if items.keys() <= {"type", "args"} and isinstance(items.get("type"), str):
        if not args:
            return str(items["type"])
        if isinstance(args, dict):
            pairs = [f"{key}={_describe(item)}" for key, item in dict.items(args)]
            return f"{items['type']}({', '.join(pairs)})"
    return f"{{{', '.join(f'{key}: {_describe(item)}' for key, item in items.items())}}}"
