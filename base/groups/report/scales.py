"""Scales of charts: where scores and the values of a parameter lie on an axis."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from base.groups.plan.space import Choices, Space, format_value, is_number
from base.groups.study.ranking import get_score
from base.groups.study.records import FINISHED, TrialRecord
from base.tools.charts import MAX_MAGNITUDE

MODULE = re.compile(r"^(\w+\.)+(?=\w+(\(|$))")  # of a class
FENCE_FACTOR = 10  # times the distance from the best score to the median; the rest is outside


class ScoreScale(NamedTuple):
    """The range of scores that charts show.

    A few trials diverge in most searches. If their scores set the limits, all others would be one
    line. So a score far from the others lies outside, and is drawn at the edge.

    Attributes:
        low, high: the limits.
        is_min: whether the lowest score is the best.
    """

    low: float
    high: float
    is_min: bool

    @classmethod
    def from_trials(cls, trials: Iterable[TrialRecord], mode: str) -> ScoreScale | None:
        """Returns a scale for the scores of trials; None if there are none.

        The last report of a pruned trial is often far from all final scores. So pruned trials count
        only if the finished ones do not have two scores.
        """
        scored = [trial for trial in trials if get_score(trial) is not None]
        finished = get_scores(trial for trial in scored if trial.state == FINISHED)
        return cls.from_scores(finished if len(set(finished)) > 1 else get_scores(scored), mode)

    @classmethod
    def from_scores(cls, scores: Iterable[float], mode: str) -> ScoreScale | None:
        """Returns a scale for the finite scores; None if there are none."""
        finite = [limit_magnitude(score) for score in scores if math.isfinite(score)]
        if not finite:
            return None
        low, high = min(finite), max(finite)
        distance = FENCE_FACTOR * abs(median(finite) - (low if mode == "min" else high))
        if distance > 0 and mode == "min":
            high = min(high, low + distance)
        elif distance > 0:
            low = max(low, high - distance)
        return cls(low, high, mode == "min")

    def count_outside(self, scores: Iterable[float]) -> int:
        """The number of scores beyond the limits."""
        return sum(map(self.is_outside, scores))

    def is_outside(self, score: float) -> bool:
        """Whether a score is beyond the limits."""
        return not self.low <= score <= self.high

    def clip(self, score: float) -> float:
        """The score, or the limit if it is beyond."""
        return min(max(score, self.low), self.high)

    @property
    def worst(self) -> float:
        """The limit at which failed trials are marked."""
        return self.high if self.is_min else self.low

    def get_fraction(self, score: float) -> float:
        """Where a score lies between the limits: 0 at ``low``, 1 at ``high``."""
        width = self.high - self.low
        return (self.clip(score) - self.low) / width if width > 0 else 0.5

    def get_quality(self, score: float) -> float:
        """0 for the worst score, 1 for the best."""
        fraction = self.get_fraction(score)
        return 1 - fraction if self.is_min else fraction


class ParameterScale(NamedTuple):
    """The axis of a parameter.

    Attributes:
        key: dotted.
        name: a shorter one, unique among the keys.
        categories: by the JSON of a value, its label; empty for a numeric axis. The first lies
            at 0, the next at 1.
        low, high: the limits of a numeric axis.
        is_log: whether it is logarithmic.
        is_integer: whether all its values are integers.
    """

    key: str
    name: str
    categories: Mapping[str, str]
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_integer: bool = False

    def get_position(self, trial: TrialRecord) -> float:
        """Where the value of a trial lies on the axis; NaN if it has none."""
        if self.key not in trial.values:
            return math.nan
        value = trial.values[self.key]
        if self.categories:
            return float(list(self.categories).index(_to_json(value)))
        return limit_magnitude(value) if is_number(value) else math.nan

    def format(self, value: Any) -> str:
        """Formats a value for people: the label of a category, or a rounded number."""
        if self.categories:
            return self.categories[_to_json(value)]
        return f"{value:.4g}" if isinstance(value, float) else format_value(value)

    def get_fraction(self, position: float) -> float:
        """Where a position lies on the axis: 0 at its start, 1 at its end."""
        if self.categories:
            return (position + 0.5) / len(self.categories)
        if self.high <= self.low:
            return 0.5
        if self.is_log:
            return math.log(position / self.low) / math.log(self.high / self.low)
        return (position - self.low) / (self.high - self.low)


def make_scales(space: Space, trials: Sequence[TrialRecord]) -> list[ParameterScale]:
    """Makes an axis for each key of the space, wide enough for the values of all trials."""
    names = shorten_keys(space)
    scales = []
    for key, entry in space.items():
        values = [trial.values[key] for trial in trials if key in trial.values]
        if isinstance(entry, Choices):
            categories = _label_categories(_sort_numbers([*entry.values, *values]))
            scales.append(ParameterScale(key, names[key], categories))
        else:
            numbers = [entry.low, entry.high, *filter(is_number, values)]
            low, high = limit_magnitude(min(numbers)), limit_magnitude(max(numbers))
            is_log = entry.log and low > 0
            scale = ParameterScale(key, names[key], {}, low, high, is_log, entry.is_integer)
            scales.append(scale)
    return scales


def _sort_numbers(values: list[Any]) -> list[Any]:
    return sorted(values) if all(map(is_number, values)) else values


def _label_categories(values: Sequence[Any]) -> dict[str, str]:
    """Returns a label for each value, which is shorter than its text if that stays unique."""
    distinct = {_to_json(value): value for value in values}
    labels = {text: _name_part(value) for text, value in distinct.items()}
    counts = Counter(labels.values())
    return {
        text: name if counts[name] == 1 else format_value(distinct[text])
        for text, name in labels.items()
    }


def _to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _name_part(value: Any) -> str:
    """Returns the text of a value, for a part without its module: ``ResNet20(width=2)``."""
    text = format_value(value)
    return MODULE.sub("", text, count=1) if isinstance(value, dict) else text


def limit_magnitude(number: float) -> float:
    """Returns a number that matplotlib can draw."""
    return float(min(max(number, -MAX_MAGNITUDE), MAX_MAGNITUDE))


def get_scores(trials: Iterable[TrialRecord]) -> list[float]:
    """Returns the finite scores of all trials."""
    scores = map(get_score, trials)
    return [score for score in scores if score is not None]


def shorten_keys(keys: Iterable[str]) -> dict[str, str]:
    """Returns a short name for each key: its last words, as many as make it unique.

    The word ``args`` is left out: ``optimizer.args.lr`` becomes ``lr``, or ``optimizer.lr``.
    """
    words = {key: [word for word in key.split(".") if word != "args"] or [key] for key in keys}
    longest = max(map(len, words.values()), default=0)
    names: dict[str, str] = {}
    for length in range(1, longest + 1):
        candidates = {key: ".".join(words[key][-length:]) for key in words if key not in names}
        taken = [*candidates.values(), *names.values()]
        names |= {key: name for key, name in candidates.items() if taken.count(name) == 1}
    return {key: names.get(key, key) for key in words}
