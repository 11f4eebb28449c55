"""The space of a search: entries, grids and labels."""

from __future__ import annotations

from typing import Any

import pytest

from base.groups.options import SearchOptions
from base.groups.plan.grid import count_points, list_points
from base.groups.plan.space import Choices, Range, get_outer_keys, label, read_entry, read_space
from utils.errors import UserError


def test_a_list_is_one_of_choices_and_a_mapping_is_a_range() -> None:
    assert read_entry([32, None, "x"]) == Choices([32, None, "x"])
    assert read_entry({"low": 0.1, "high": 1, "log": True}) == Range(0.1, 1, log=True)
    assert read_entry({"low": 1, "high": 7, "step": 2}) == Range(1, 7, step=2, is_integer=True)
    assert read_entry({"low": 0.0, "high": 1.0}) == Range(0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "key", "message"),
    [
        (3, "", "must be a list of choices or a range {low, high}, not 3"),
        ([], "", "has no choices"),
        ([1, 2, 1.0], "2", "1.0 is the same choice as number 1"),
        ([1, True], "1", "true is the same choice as number 1"),
        ([{"type": "A"}, {"type": "A", "args": {}}], "1", "is the same choice as number 1"),
        ({"args": {"lr": [1, 2]}}, "", "is neither a range {low, high} nor a list of choices"),
        ({"low": 1}, "", "needs 'high'; a range has low, high, log, step"),
        ({"low": 1, "hihg": 2}, '"hihg"', "unknown key (did you mean 'high'?)"),
        ({"low": 2, "high": 2}, "", "low and high are both 2, so there is nothing to vary"),
        ({"low": 3, "high": 2}, "", "low must be below high, and 3 is above 2"),
        ({"low": 0, "high": 2, "log": True}, "low", "0 must be above 0 with log: true"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "step", "cannot be combined with log"),
        ({"low": 1, "high": 2, "step": 0}, "step", "0 must be above 0"),
        ({"low": 0, "high": 1, "step": 0.3}, "step", "steps of 0.3 from 0 end at 0.9, not at 1"),
        ({"low": 0, "high": 1, "step": 2}, "step", "2 is longer than the range from 0 to 1"),
        ({"low": "a", "high": 1}, "low", "must be a finite number, not 'a'"),
        ({"low": True, "high": 2}, "low", "must be a finite number, not True"),
        ({"low": 0, "high": float("inf")}, "high", "must be a finite number, not inf"),
        ({"low": 0, "high": 2**60}, "high", "must be at most 2**53"),
        ({"low": 0, "high": 1, "log": "yes"}, "log", "must be true or false, not 'yes'"),
        (list(range(1001)), "", "has 1,001 choices, and the limit is 1,000"),
    ],
)
def test_a_wrong_entry_is_refused(value: Any, key: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_entry(value)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message in problem.message


def test_shorter_keys_come_first_and_else_the_order_of_the_config() -> None:
    options = SearchOptions({"b.c.d": [1], "e.f": [1], "arch.args.width": [1], "arch": [2]})
    assert list(read_space(options)) == ["arch", "e.f", "b.c.d", "arch.args.width"]


def test_all_wrong_entries_of_a_space_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read_space(SearchOptions({"a.b": [], "c": {"low": 2, "high": 1}}))
    assert [problem.key for problem in caught.value.problems] == ['space."c"', 'space."a.b"']


def test_a_grid_has_all_combinations_and_its_steps_are_exact() -> None:
    space = {"a": Range(0.0, 0.3, step=0.1), "b": Choices(["x", None])}
    points = list_points(space)
    assert points[:3] == [{"a": 0.0, "b": "x"}, {"a": 0.0, "b": None}, {"a": 0.1, "b": "x"}]
    assert [point["a"] for point in points[::2]] == [0.0, 0.1, 0.2, 0.3]
    assert len(points) == count_points(space) == 8
    integers = list_points({"n": Range(1, 7, step=3, is_integer=True)})
    assert [(point["n"], type(point["n"])) for point in integers] == [(1, int), (4, int), (7, int)]


def test_a_grid_needs_steps_and_has_a_limit() -> None:
    with pytest.raises(UserError, match="b: needs a 'step' for a grid, or a list of choices"):
        list_points({"a": Choices([1]), "b": Range(1, 5, is_integer=True)})
    with pytest.raises(UserError, match="the grid has 1,000,001 points, and the limit is 10,000"):
        list_points({"a": Range(0, 1_000_000, step=1, is_integer=True)})


def test_the_label_of_a_plain_value_is_the_value() -> None:
    assert [label(value) for value in (1, 0.5, "x", None, True)] == [1, 0.5, "x", None, True]


def test_the_label_of_a_part_is_a_short_text_that_no_other_part_has() -> None:
    assert label({"type": "resnet.ResNet20"}) == "resnet.ResNet20"
    loss = {"type": "Sum", "args": {"of": [{"type": "MSE"}, 2], "name": "a"}}
    assert label(loss) == 'Sum(of=[MSE, 2], name="a")'
    assert label([0.9, 0.999]) == "[0.9, 0.999]"
    assert label({"mode": "x", "n": {}}) == '{mode: "x", n: {}}'
    long = [{"type": "A", "args": {"text": "x" * 90, "last": last}} for last in (1, 2)]
    first, second = map(label, long)
    assert len(str(first)) == len(str(second)) == 60
    assert first != second


def test_outer_keys_are_those_around_a_key_and_the_type_of_its_args() -> None:
    keys = ["arch", "optimizer.type", "optimizer.args.lr", "arch.args.width", "arch.args"]
    space = dict.fromkeys(keys)
    assert get_outer_keys("arch.args.width", space) == ["arch", "arch.args"]
    assert get_outer_keys("optimizer.args.lr", space) == ["optimizer.type"]
    assert get_outer_keys("arch", space) == []
