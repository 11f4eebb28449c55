"""Values of a config as text for people."""

from __future__ import annotations

import math
from typing import Any

import pytest

from config.read.text import flatten, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("max val_accuracy", "max val_accuracy"),
        ("data/a.pt", "data/a.pt"),
        ("true", '"true"'),
        ("1e-3", '"1e-3"'),
        ("a: b", '"a: b"'),
        ("", '""'),
        ("é", '"é"'),
        ("a\x1b", '"a\\u001b"'),
        ("\u202e", '"\\U0000202e"'),
        (None, "null"),
        (True, "true"),
        (0.001, "0.001"),
        (math.inf, ".inf"),
        (-math.inf, "-.inf"),
        ([1, ["x", None]], "[1, [x, null]]"),
        ({"a": {"b": 1}, "c d": []}, "{a: {b: 1}, c d: []}"),
    ],
    ids=repr,
)
def test_a_value_as_one_writes_it_in_yaml(value: Any, text: str) -> None:
    assert to_text(value) == text


def test_every_value_is_listed_by_its_keys() -> None:
    values = {"a": {"b": 1, "empty": {}}, "l": [1, 2], "items": [{"x": 1}, "y"], "none": []}
    assert flatten(values) == {
        ("a", "b"): 1,
        ("a", "empty"): {},
        ("l",): [1, 2],
        ("items", 0, "x"): 1,
        ("items", 1): "y",
        ("none",): [],
    }
