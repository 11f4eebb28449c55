"""Dataclasses as the schema of a flat section: making them, and the keys in their errors."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any, Optional

import pytest

from utils.errors import Problem, UserError
from utils.options import (
    SectionOptions,
    find_dataclass,
    find_too_small,
    make_options,
    raise_problems,
)


@dataclass(frozen=True)
class Leaf:
    size: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        raise_problems(find_too_small(self, size=1, rate=0))


@dataclass(frozen=True)
class Branch:
    leaves: list[Leaf] | None = None
    single: Leaf | None = None


@dataclass(frozen=True)
class Options(SectionOptions):
    name: str
    branch: Branch | None = None
    plain: list[int] | None = None


def problems_of(section: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(UserError) as caught:
        make_options(Options, section)
    return [tuple(problem) for problem in caught.value.problems]


def test_nested_dataclasses_are_made_singly_and_in_lists() -> None:
    section = {"name": "x", "branch": {"leaves": [{"size": 2}, {}], "single": {"rate": 0.5}}}
    branch = Branch([Leaf(2), Leaf()], Leaf(rate=0.5))
    assert make_options(Options, section) == Options("x", branch)


def test_keys_that_are_no_fields_are_ignored() -> None:
    section = {"name": "x", "type": "Trainer", "__comment": "y", "plain": [1]}
    assert make_options(Options, section) == Options("x", plain=[1])


def test_null_stays_none() -> None:
    assert make_options(Options, {"name": "x", "branch": None}) == Options("x")
    assert make_options(Branch, {"leaves": None, "single": None}) == Branch()


def test_an_error_names_the_key_relative_to_the_section() -> None:
    message = "0 must be at least 1"
    assert problems_of({"name": "x", "branch": {"single": {"size": 0}}}) == [
        ("branch.single.size", message)
    ]
    assert problems_of({"name": "x", "branch": {"leaves": [{}, {"size": 0}]}}) == [
        ("branch.leaves.1.size", message)
    ]


def test_all_problems_of_a_dataclass_are_reported() -> None:
    assert problems_of({"name": "x", "branch": {"single": {"size": 0, "rate": nan}}}) == [
        ("branch.single.size", "0 must be at least 1"),
        ("branch.single.rate", "nan must be at least 0"),
    ]


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        (Leaf, (Leaf, False)),
        (Leaf | None, (Leaf, False)),
        (Optional[Leaf], (Leaf, False)),  # noqa: UP045  (as older code writes it)
        (list[Leaf], (Leaf, True)),
        (list[Leaf] | None, (Leaf, True)),
        (list[int], (None, False)),
        (dict[str, Leaf], (None, False)),
        (int | None, (None, False)),
        (Any, (None, False)),
    ],
    ids=repr,
)
def test_the_dataclass_in_an_annotation_is_found(annotation: Any, found: Any) -> None:
    assert find_dataclass(annotation) == found


def test_problems_are_raised_as_one_error() -> None:
    raise_problems([])
    with pytest.raises(UserError, match=r"^a: one\nb: two$"):
        raise_problems(iter([Problem("a", "one"), Problem("b", "two")]))


def test_the_methods_of_a_section_do_nothing_by_default() -> None:
    options = Options("x")
    options.check_epochs(1)
    assert options.explain(None) == []


def test_a_field_whose_key_python_reserves_ends_with_an_underscore() -> None:
    @dataclass
    class Range:
        from_: int = 0
        last_: int = 0

    assert make_options(Range, {"from": 3, "from_": 4, "last_": 5}) == Range(3, 5)
