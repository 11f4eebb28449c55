"""Sections: dicts whose keys are attributes, which remember what was read."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import pytest

from config.read.section import Section, forget_read_keys, get_read_keys, to_plain

VALUES = {"type": "Net", "args": {"width": 4, "layers": [1, {"deep": 2}]}}


def test_keys_are_items_and_attributes_at_any_depth() -> None:
    section = Section(VALUES)
    assert section.args.width == section["args"]["width"] == 4
    assert section.args.layers[1].deep == 2
    section.args.width = 8
    assert section["args"]["width"] == 8


def test_a_section_is_a_dict() -> None:
    section = Section(VALUES)
    assert isinstance(section, dict)
    assert json.loads(json.dumps(section)) == VALUES
    assert dict(**section) == VALUES


def test_a_missing_key_is_reported_with_the_choices() -> None:
    with pytest.raises(AttributeError, match="no 'wdith' here; there are: width, layers"):
        _ = Section(VALUES).args.wdith


def test_a_section_can_be_copied_and_pickled() -> None:
    section = Section(VALUES)
    for copied in (copy.deepcopy(section), pickle.loads(pickle.dumps(section))):
        copied.args.layers.append(2)
        assert section.args.layers == [1, {"deep": 2}]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda section: section["type"], {"type"}),
        (lambda section: section.type, {"type"}),
        (lambda section: section.get("type"), {"type"}),
        (lambda section: section.get("nothing"), set()),
        (lambda section: "type" in section, set()),
        (lambda section: section.keys(), set()),
        (list, {"type", "args"}),
        (lambda section: section.items(), {"type", "args"}),
        (lambda section: section.values(), {"type", "args"}),
        (to_plain, set()),
    ],
    ids=["item", "attribute", "get", "get none", "in", "keys", "iter", "items", "values", "plain"],
)
def test_a_section_remembers_what_was_read(read: object, expected: set[str]) -> None:
    section = Section(VALUES)
    read(section)  # type: ignore[operator]
    assert get_read_keys(section) == expected
    forget_read_keys(section)
    assert get_read_keys(section) == set()


def test_every_key_of_a_plain_dict_counts_as_read() -> None:
    forget_read_keys(VALUES)
    assert get_read_keys(VALUES) == {"type", "args"}


def test_plain_values_are_a_copy_that_json_can_hold() -> None:
    values = {"path": Path("a/b"), "pair": (1, 2.5), 3: [None, True], "inf": -math.inf}
    plain = to_plain(Section(values))  # type: ignore[arg-type]
    assert plain == {"path": "a/b", "pair": [1, 2.5], "3": [None, True], "inf": "-.inf"}
    assert type(plain) is dict
