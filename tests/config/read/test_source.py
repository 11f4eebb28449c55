"""Reading JSON and YAML: the values, and where each was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.read.source import parse_value, read_tree
from config.read.tree import Tree


def read(folder: Path, text: str | bytes, name: str) -> Tree:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tree(path)


def yaml(folder: Path, text: str) -> Tree:
    return read(folder, text, "c.yaml")


# -- line and column -------------------------------------------------------------------------------


def test_json_keys_and_items_have_line_and_column(tmp_path: Path) -> None:
    tree = read(
        tmp_path, '{\n  "a": {"b": 1},\n\t"l": [\n    10,\n    {"c": 2}\n  ]\n}\n', "c.json"
    )

    assert tree.data == {"a": {"b": 1}, "l": [10, {"c": 2}]}
    places = {keys: (mark.line, mark.col) for keys, mark in tree.marks.items()}
    assert places == {
        (): (1, 1),
        ("a",): (2, 3),
        ("a", "b"): (2, 9),
        ("l",): (3, 2),
        ("l", 0): (4, 5),
        ("l", 1): (5, 5),
        ("l", 1, "c"): (5, 6),
    }


def test_yaml_keys_and_items_have_line_and_column(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "# a comment\na:\n  b: 1\nl:\n  - 10\n  - {c: 2}\n")

    assert tree.data == {"a": {"b": 1}, "l": [10, {"c": 2}]}
    places = {keys: (mark.line, mark.col) for keys, mark in tree.marks.items() if keys}
    assert places == {
        ("a",): (2, 1),
        ("a", "b"): (3, 3),
        ("l",): (4, 1),
        ("l", 0): (5, 5),
        ("l", 1): (6, 5),
        ("l", 1, "c"): (6, 6),
    }


def test_a_missing_key_is_reported_at_the_nearest_section_around_it(tmp_path: Path) -> None:
    tree = read(tmp_path, '{"a":\n {"b": {}}}', "c.json")
    message = str(tree.error(("a", "b", "c", "d"), "is missing"))
    assert message == f"{tmp_path}/c.json:2:3: a.b.c.d: is missing"


def test_json_and_yaml_of_the_same_content_give_the_same_values(tmp_path: Path) -> None:
    json_text = '{"a": [1, 2.5, -3e-2, true, false, null, "x y", ""], "b": {"c": {}, "d": []}}'
    yaml_text = "a: [1, 2.5, -3e-2, true, false, null, x y, '']\nb:\n  c: {}\n  d: []\n"
    assert read(tmp_path, json_text, "c.json").data == yaml(tmp_path, yaml_text).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"tab\tline\nquote\"slash\/back\\"', 'tab\tline\nquote"slash/back\\'),
        (r'"\u00e9\u20ac"', "é€"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\uD83D\uDE00"', "😀"),
        ('"😀 # no comment: here"', "😀 # no comment: here"),
        ('"1e-3"', "1e-3"),
        ('"true"', "true"),
        ('"*a &b !c %d @e"', "*a &b !c %d @e"),
        ("1E5", 100000.0),
        ("-0.5", -0.5),
    ],
)
def test_json_values_follow_json_rules(tmp_path: Path, text: str, value: Any) -> None:
    got = read(tmp_path, f'{{"a": {text}}}', "c.json").data["a"]
    assert (got, type(got)) == (value, type(value))


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1}', "c.json").data == {"a": 1}


# -- YAML scalars, by version 1.2 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # a string in YAML 1.1
        ("1e3", 1000.0),
        ("3.", 3.0),
        (".5", 0.5),
        ("+7", 7),
        ("012", 12),  # ten in YAML 1.1
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("a: b", "a: b"),
    ],
)
def test_yaml_scalars(tmp_path: Path, text: str, value: Any) -> None:
    written = f"'{text}'" if text == "a: b" else text
    got = yaml(tmp_path, f"a: {written}\n").data["a"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [("!!str 012", "012"), ("!!str true", "true"), ("!!int 5", 5), ("!!float 5", 5)],
)
def test_standard_tags_are_supported(tmp_path: Path, text: str, value: Any) -> None:
    got = yaml(tmp_path, f"a: {text}\n").data["a"]
    assert (got, type(got)) == (value, type(value))


def test_keys_are_always_text(tmp_path: Path) -> None:
    assert yaml(tmp_path, "1: a\ntrue: b\n~: c\n").data == {"1": "a", "true": "b", "~": "c"}


def test_an_alias_is_a_copy_of_its_anchor(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "a: &size [1, 2]\nb: *size\n")
    assert tree.data == {"a": [1, 2], "b": [1, 2]}
    tree.data["a"].append(3)
    assert tree.data["b"] == [1, 2]


# -- merge keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\n", "base: &b {x: 1, y: 2}\na: {y: 3, <<: *b}\n"],
    ids=["merge first", "merge last"],
)
def test_a_merge_key_adds_the_keys_that_are_missing(tmp_path: Path, text: str) -> None:
    assert yaml(tmp_path, text).data["a"] == {"x": 1, "y": 3}


def test_of_several_merged_mappings_the_first_wins(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "p: &p {x: 1}\nq: &q {x: 2, y: 2}\na:\n  <<: [*p, *q]\n  z: 3\n")
    assert tree.data["a"] == {"x": 1, "y": 2, "z": 3}


def test_a_merged_key_is_marked_where_it_was_written(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "base: &b\n  x: 1\na:\n  <<: *b\n")
    assert tree.marks["a", "x"].line == 2


def test_a_quoted_merge_key_is_an_ordinary_key(tmp_path: Path) -> None:
    assert yaml(tmp_path, "a: {'<<': 1}\n").data == {"a": {"<<": 1}}


def test_a_key_next_to_a_merge_key_keeps_its_mark(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "base: &b\n  x: 1\na:\n  x: 2\n  <<: *b\n")
    assert tree.marks["a", "x"].line == 4


def test_sixty_levels_are_accepted(tmp_path: Path) -> None:
    value: Any = read(tmp_path, '{"a": ' * 60 + "1" + "}" * 60, "c.json").data
    for _ in range(60):
        value = value["a"]
    assert value == 1


# -- words of the command line ---------------------------------------------------------------------


WORDS = (
    *(
        "run #3",
        "#3",
        "/data/set #2/x",
        "&y",
        "&y 3",
        "!z",
        "!!str 7",
        "!!int 7",
        "|",
        "> x",
        "---",
    ),
    *("--- a", " a ", "a\nb", "a\tb", '"a" #b', "'a", '"a" b', "@a", "`a`", "1_000", "12:30:45"),
    *("2020-01-01", "yes", "no", "~/runs", "don't"),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("2", 2),
        ("true", True),
        ("null", None),
        ("off", "off"),
        ("[1, 2]", [1, 2]),
        ("{type: SGD, args: {lr: 1}}", {"type": "SGD", "args": {"lr": 1}}),
        ("max val_accuracy", "max val_accuracy"),
        ("data/a b", "data/a b"),
        ("[1, 2", "[1, 2"),  # not YAML, so text
        ("*x", "*x"),
        ("!!python/name:os.system x", "!!python/name:os.system x"),
        ("%", "%"),
        *((word, word) for word in WORDS),
        ('"a #b"', "a #b"),
        ("'007'", "007"),
        (" 3 ", 3),
        ("", None),
        ("a: b", {"a": "b"}),
        ("- a", ["a"]),
    ],
)
def test_a_word_is_parsed_as_yaml_or_is_text(text: str, value: Any) -> None:
    got = parse_value(text)
    assert (got, type(got)) == (value, type(value))
