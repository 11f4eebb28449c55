"""Compares each value of a search's space with what takes it."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any, NamedTuple

from base.groups.plan.space import MAX_CHOICES, format_value, get_outer_keys, is_number, list_keys
from config.check.checker import Checker
from config.check.json_values import LIST_MEMBERS
from config.check.preflight import examine, get_known_keys
from config.check.shapes import get_choices
from config.read.merge import get_value, set_value
from config.read.references import interpolate
from config.read.section import copy_values
from config.read.tree import ConfigError, Finding, Keys, Mark, Tree, join_keys, split_keys
from utils.errors import did_you_mean, shorten

MAX_CHECKS = 500  # of configs for one key; the trials check the rest themselves
MAX_CASES_SHOWN = 3
MAX_SHOWN_CHARS = 60
FOLD_ARGUMENTS = ("folds", "fold")  # of the loader, which repeat.folds sets for each run
# The keys that no search may vary, and why.
FIXED = {
    "name": "all trials are in one folder",
    "description": "it changes no number",
    "n_gpu": "all trials have the same devices",
    "parallel": "all trials have the same number of processes",
    "trainer.save_dir": "all trials are in one folder",
    "trainer.monitor": "the trials are compared by it",
    "search": "it describes the search itself",
    "repeat": "it is the same for all trials",
    "extends": "only a config file can extend another one",
    "$schema": "it is for editors",
}
# Schedulers of torch that set the learning rate from the first step on, and by which argument.
RATE_ARGUMENTS = {"OneCycleLR": "max_lr", "CyclicLR": "base_lr"}
_ABSENT = object()


class Case(NamedTuple):
    """The config with values for the outer keys of a key, such as each choice of ``arch``.

    Attributes:
        data: the values of the config. A ``${…}`` is not replaced, because it follows a candidate.
        text: names these values for a message; empty if there are no outer keys.
        checker: has checked the config.
    """

    data: dict[str, Any]
    text: str
    checker: Checker


class Candidate(NamedTuple):
    """One choice, or a number of a range.

    Attributes:
        position: in the entry: an index, or ``low``, ``high`` or ``step``.
        value: of the config's key.
    """

    position: int | str
    value: Any


class SpaceCheck:
    """Checks the space of a search, key by key.

    For every candidate, a copy of the config gets its value, and is checked. A finding belongs to
    the candidate if the config without this value does not have it.

    Args:
        checker: of the config; it takes the findings.
        space: as the config has it. The check makes the numbers of a range floats if its parameter
            wants a float, so that ``{low: 0, high: 1}`` is no range of integers.
    """

    def __init__(self, checker: Checker, space: dict[str, Any]) -> None:
        self.checker = checker
        self.space = space
        values = checker.tree.data if checker.tree.unresolved is None else checker.tree.unresolved
        self.data = {key: values[key] for key in values if key != "search"}
        self._cases: dict[tuple[tuple[str, int], ...], Case] = {}

    def run(self) -> None:
        for key in list_keys(self.space):
            keys = split_keys(key)
            if problem := self._find_wrong_key(keys):
                self.checker.fail(("search", "space", key), problem)
            else:
                self._check_entry(key, keys)

    # -- keys --------------------------------------------------------------------------------------

    def _find_wrong_key(self, keys: Keys) -> str:
        """Returns why a key cannot be searched; empty if it can."""
        if not keys or "" in keys or str(keys[0]).startswith("~"):
            return "is no key; write a key with dots, such as optimizer.args.lr"
        for fixed, reason in FIXED.items():
            words = tuple(fixed.split("."))
            if keys[: len(words)] == words:
                return f"cannot be searched, because {reason}"
        repeat = self.checker.tree.data.get("repeat")
        repeat = repeat if isinstance(repeat, dict) else {}
        if keys == ("seed",) and repeat.get("seeds") is not None:
            return "repeat.seeds gives each trial several seeds; remove one of the two"
        is_fold = keys[:-1] == ("data_loader", "args") and keys[-1] in FOLD_ARGUMENTS
        if is_fold and repeat.get("folds") is not None:
            return "repeat.folds sets this for each run; remove one of the two"
        return self._find_overruled(keys)

    def _find_overruled(self, keys: Keys) -> str:
        """Returns why the optimizer's learning rate has no effect; empty if it has one."""
        if keys != ("optimizer", "args", "lr"):
            return ""
        found = self.checker.resolved.get(("lr_scheduler",))
        name = RATE_ARGUMENTS.get(getattr(found, "__name__", ""), "")
        if not name:
            return ""
        is_varied = any(key.partition(".")[0] == "lr_scheduler" for key in list_keys(self.space))
        rate = _get(self.data, ("lr_scheduler", "args", name))
        if is_varied or not isinstance(rate, int | float):  # a reference may name the rate
            return ""
        key = f"lr_scheduler.args.{name}"
        return f"has no effect, because lr_scheduler sets the learning rate; search {key} instead"

    def _is_taken(self, keys: Keys, case: Case, checker: Checker) -> bool:
        """Whether a key exists, or is an argument that its owner takes.

        Args:
            keys: of the value.
            case: without the value.
            checker: has checked the case with the value, and found nothing wrong.
        """
        if _get(case.data, keys) is not _ABSENT or keys in checker.takers:
            return True
        if len(keys) == 1:
            return keys[0] in get_known_keys(checker.schema)
        owner = keys[:-2] if keys[-2] == "args" else keys[:-1]
        if owner in checker.resolved:  # which takes other arguments too
            return keys[-2] == "args" or keys[-1] in ("type", "args")
        return len(keys) == 3 and isinstance(keys[1], int) and keys[2] in LIST_MEMBERS

    # -- values ------------------------------------------------------------------------------------

    def _check_entry(self, key: str, keys: Keys) -> None:
        """Checks every candidate of a key, in every case."""
        cases = self._list_cases(get_outer_keys(key, self.space))
        candidates = list_candidates(self.space[key])
        texts: dict[tuple[Keys, str], list[str]] = {}
        positions: dict[tuple[Keys, str], int | str] = {}
        annotations: list[Any] = []
        pairs = itertools.product(candidates, cases)
        for candidate, case in itertools.islice(pairs, MAX_CHECKS):
            problems, checker = self._find_problems(keys, candidate.value, case)
            for problem in problems:
                positions.setdefault(problem, candidate.position)
                if candidate.position == positions[problem]:
                    texts.setdefault(problem, []).append(case.text)
            if keys in checker.takers:
                annotations.append(checker.takers[keys][1].annotation)
        for (where, message), names in texts.items():
            mark = self.checker.tree.mark(("search", "space", key, positions[where, message]))
            is_conditional = len(names) < len(cases)
            note = f" (with {'; '.join(names[:MAX_CASES_SHOWN])})" if is_conditional else ""
            self.checker.findings.append(Finding(mark, where, message + note))
        if isinstance(self.space[key], dict) and candidates and not texts:
            self._check_kind(key, keys, annotations)

    def _list_cases(self, outer: list[str]) -> list[Case]:
        """Lists the config with every combination of choices of the outer keys that works."""
        choices = [
            [(key, index) for index in range(len(self.space[key]))]
            for key in outer
            if isinstance(self.space[key], list)
        ]
        combinations = itertools.islice(itertools.product(*choices), MAX_CHECKS)
        cases = [self._get_case(combination) for combination in combinations]
        prefixes = [split_keys(key) for key in outer]
        return [case for case in cases if not _has_findings(case.checker, prefixes)]

    def _get_case(self, chosen: tuple[tuple[str, int], ...]) -> Case:
        if chosen not in self._cases:
            tree = Tree(copy_values(self.data))
            for key, index in chosen:
                with contextlib.suppress(ConfigError):  # reported for the outer key
                    value = copy_values(self.space[key][index])
                    set_value(tree, split_keys(key), value, Mark(""))
            texts = [f"{key}: {_show(self.space[key][index])}" for key, index in chosen]
            data = copy_values(tree.data)
            with contextlib.suppress(ConfigError):  # as above
                interpolate(tree)
            checker = examine(tree, self.checker.schema)
            self._cases[chosen] = Case(data, ", ".join(texts), checker)
        return self._cases[chosen]

    def _find_problems(
        self, keys: Keys, value: Any, case: Case
    ) -> tuple[list[tuple[Keys, str]], Checker]:
        """Checks a case with a value. Returns the keys and texts of what is wrong with it."""
        tree = Tree(copy_values(case.data))
        try:
            keys = set_value(tree, keys, copy_values(value), Mark(""))
            interpolate(tree)
        except ConfigError as error:
            return [(keys, finding.message) for finding in error.findings], case.checker
        for fixed, reason in FIXED.items():
            words, before = split_keys(fixed), case.checker.tree.data
            if _get(tree.data, words) != _get(before, words):
                message = f"{_show(value)} would change {fixed}, which cannot be searched, because"
                return [(keys, f"{message} {reason}")], case.checker
        checker = examine(tree, self.checker.schema)
        known = {(finding.keys, finding.message) for finding in case.checker.findings}
        problems = []
        for _, where, message in checker.findings:
            if (where, message) in known:
                continue
            if where[: len(keys)] != keys:
                where, message = keys, f"with {_show(value)}: {join_keys(where)}: {message}"
            problems.append((where, message))
        if not problems and not self._is_taken(keys, case, checker):
            section = _get(case.checker.tree.data, keys[:-1])
            hint = did_you_mean(str(keys[-1]), section if isinstance(section, dict) else ())
            problems.append((keys, f"the config has no such key{hint}"))
        return problems, checker

    def _check_kind(self, key: str, keys: Keys, annotations: list[Any]) -> None:
        """Checks that a range is one of numbers. Makes it one of floats if floats are wanted."""
        choices = {choice for annotation in annotations for choice in _list_types(annotation)}
        value = _get(self.checker.tree.data, keys)
        if not choices and isinstance(value, bool | str | list | dict):
            message = f"a range is for numbers, and the config has {_show(value)}"
            self.checker.fail(("search", "space", key), message)
        is_weight = keys[-1] == "weight" and len(keys) == 3  # of a loss
        is_float = float in choices if choices else isinstance(value, float) or is_weight
        entry = self.space[key]
        for name in ("low", "high", "step") if is_float and int not in choices else ():
            if is_number(entry.get(name)):
                entry[name] = float(entry[name])


def list_candidates(entry: Any) -> list[Candidate]:
    """Lists the values of an entry to check: all choices, or both ends of a range and a step."""
    if isinstance(entry, list):
        return [Candidate(index, value) for index, value in enumerate(entry[:MAX_CHOICES])]
    if not isinstance(entry, dict):
        return []
    low, high, step = entry.get("low"), entry.get("high"), entry.get("step")
    ends = [Candidate("low", low), Candidate("high", high)]
    if is_number(low) and is_number(step):
        ends.append(Candidate("step", low + step))
    return [candidate for candidate in ends if is_number(candidate.value)]


def _list_types(annotation: Any) -> list[Any]:
    return [choice for choice in get_choices(annotation) if choice in (bool, int, float, str)]


def _has_findings(checker: Checker, above: list[Keys]) -> bool:
    """Whether something is wrong with a value at one of the keys, or below one."""
    return any(item.keys[: len(keys)] == keys for item in checker.findings for keys in above)


def _get(data: Any, keys: Keys) -> Any:
    try:
        return get_value(data, keys)
    except KeyError:
        return _ABSENT


def _show(value: Any) -> str:
    return shorten(format_value(value), MAX_SHOWN_CHARS)
