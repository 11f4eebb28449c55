"""Text to tree: values, and where each was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.read.source import parse_value, read_tree
from config.read.tree import ConfigError, Finding, Mark, Tree


def read(folder: Path, text: str | bytes, name: str) -> Tree:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tree(path)


def yaml(folder: Path, text: str) -> Tree:
    return read(folder, text, "c.yaml")


def refusal(folder: Path, text: str | bytes, name: str) -> str:
    """The one line that refuses ``text``, without the folder in front."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message.removeprefix(f"{folder}/")


# -- where things stand ---------------------------------------------------------------------------------------------


def test_every_json_key_and_element_knows_its_line_and_column(tmp_path: Path) -> None:
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


def test_every_yaml_key_and_element_knows_its_line_and_column(tmp_path: Path) -> None:
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


def test_a_missing_key_is_told_at_the_nearest_section_around_it(tmp_path: Path) -> None:
    tree = read(tmp_path, '{"a":\n {"b": {}}}', "c.json")
    message = str(tree.error(("a", "b", "c", "d"), "is missing"))
    assert message == f"{tmp_path}/c.json:2:3: a.b.c.d: is missing"


def test_json_and_yaml_of_the_same_content_are_the_same_tree(tmp_path: Path) -> None:
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
def test_json_values_are_read_as_json_says(tmp_path: Path, text: str, value: Any) -> None:
    got = read(tmp_path, f'{{"a": {text}}}', "c.json").data["a"]
    assert (got, type(got)) == (value, type(value))


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1}', "c.json").data == {"a": 1}


# -- YAML's scalars, by version 1.2 ---------------------------------------------------------------------------------


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
def test_the_standards_own_tags_are_understood(tmp_path: Path, text: str, value: Any) -> None:
    got = yaml(tmp_path, f"a: {text}\n").data["a"]
    assert (got, type(got)) == (value, type(value))


def test_keys_are_always_text(tmp_path: Path) -> None:
    assert yaml(tmp_path, "1: a\ntrue: b\n~: c\n").data == {"1": "a", "true": "b", "~": "c"}


def test_an_alias_stands_for_its_anchor_at_both_places(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "a: &size [1, 2]\nb: *size\n")
    assert tree.data == {"a": [1, 2], "b": [1, 2]}
    tree.data["a"].append(3)
    assert tree.data["b"] == [1, 2]


# -- merge keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\n", "base: &b {x: 1, y: 2}\na: {y: 3, <<: *b}\n"],
    ids=["merge first", "merge last"],
)
def test_a_merge_key_fills_in_what_is_not_given(tmp_path: Path, text: str) -> None:
    assert yaml(tmp_path, text).data["a"] == {"x": 1, "y": 3}


def test_of_several_merged_mappings_the_first_wins(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "p: &p {x: 1}\nq: &q {x: 2, y: 2}\na:\n  <<: [*p, *q]\n  z: 3\n")
    assert tree.data["a"] == {"x": 1, "y": 2, "z": 3}


def test_a_merged_key_is_marked_where_it_was_written(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "base: &b\n  x: 1\na:\n  <<: *b\n")
    assert tree.marks["a", "x"].line == 2


def test_a_quoted_merge_sign_is_a_key_like_any_other(tmp_path: Path) -> None:
    assert yaml(tmp_path, "a: {'<<': 1}\n").data == {"a": {"<<": 1}}


def test_a_key_that_is_given_beside_a_merge_keeps_its_own_mark(tmp_path: Path) -> None:
    tree = yaml(tmp_path, "base: &b\n  x: 1\na:\n  x: 2\n  <<: *b\n")
    assert tree.marks["a", "x"].line == 4


@pytest.mark.parametrize(
    "text", ["a: {<<: 5}", "b: &b [1]\na: {<<: *b}", "b: &b {x: 1}\na: {<<: [*b, 5]}"]
)
def test_only_mappings_can_be_merged(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text, "c.yaml").startswith("c.yaml:")


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", '{\n  "a": 1,\n  "a": 2\n}', "c.json:3:3: a: given twice (first on line 2)"),
        ("c.json", '{"a": {"b": 1,\n "b": 1}}', "c.json:2:2: a.b: given twice (first on line 1)"),
        ("c.yaml", "a: 1\nb: 2\na: 3\n", "c.yaml:3:1: a: given twice (first on line 1)"),
        ("c.json", '{\n"a": 1e400}', "c.json:2:6: a: 1e400 is too large for a number"),
        ("c.yaml", "a: -1e999\n", "c.yaml:1:4: a: -1e999 is too large for a number"),
        (
            "c.json",
            '{\n  "a": 1,\n}',
            "c.json:3:1: not JSON: Expecting property name enclosed in double quotes",
        ),
        ("c.json", '{"a": 1} x', "c.json:1:10: not JSON: Extra data"),
        (
            "c.json",
            "{'a': 1}",
            "c.json:1:2: not JSON: Expecting property name enclosed in double quotes",
        ),
        ("c.yaml", "a: [1\nb: 2\n", "c.yaml:2:2: expected ',' or ']', but got ':'"),
        ("c.yaml", "a: 1\n---\nb: 2\n", "c.yaml:2:1: but found another document"),
        ("c.yaml", "a: *nothing\n", "c.yaml:1:4: found undefined alias 'nothing'"),
        ("c.yaml", "{[1, 2]: 3}\n", "c.yaml:1:2: a key must be a plain word"),
        ("c.json", "", "c.json: is empty; a config is a mapping of keys to values"),
        ("c.json", " \n", "c.json: is empty; a config is a mapping of keys to values"),
        ("c.yaml", "# nothing\n", "c.yaml: is empty; a config is a mapping of keys to values"),
        ("c.json", "[1]", "c.json: holds a list; a config is a mapping of keys to values"),
        ("c.yaml", "words\n", "c.yaml: holds a str; a config is a mapping of keys to values"),
        ("c.json", '{"a": 1}'.encode("utf-16"), "c.json: not UTF-8 text (byte 0)"),
        ("c.yaml", b"a: \xe9\n", "c.yaml: not UTF-8 text (byte 3)"),
    ],
)
def test_bad_text_is_refused_in_one_line_with_its_place(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    assert refusal(tmp_path, text, name) == message


@pytest.mark.parametrize(
    ("text", "place"),
    [('{\n"a": NaN}', "2:6: a"), ('{"NaN": "NaN",\n\n"a": [\n NaN]}', "4:2: a.0")],
)
def test_nan_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    assert refusal(tmp_path, text, "c.json") == f"c.json:{place}: JSON has no NaN"


def test_a_control_character_is_refused(tmp_path: Path) -> None:
    assert "c.yaml:1:4: the control character #x0000 is not allowed" in refusal(
        tmp_path, "a: \0", "c.yaml"
    )


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system ''",
        "!!binary aGk=",
        "!own x",
    ],
)
def test_yaml_tags_that_make_objects_are_refused(tmp_path: Path, tag: str) -> None:
    assert "is not allowed here" in refusal(tmp_path, f"a: {tag}\n", "c.yaml")


def test_a_folder_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tree(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: is a folder"


@pytest.mark.parametrize(
    ("name", "reason"), [("none.json", "No such file or directory"), ("a\0b", "null byte")]
)
def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read_tree(tmp_path / name)
    assert "\n" not in str(caught.value)


# -- bombs ----------------------------------------------------------------------------------------------------------

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)  # 9^9 values
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"a": ' * 80 + "1" + "}" * 80),
        ("c.json", '{"a": ' * 70_000 + "1" + "}" * 70_000),
        ("c.json", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("c.yaml", "a: " + "[" * 800 + "]" * 800),
        ("c.yaml", "a: " + "[" * 50_000),
        ("c.yaml", "a: &x [*x]\n"),
        ("c.yaml", ALIASES),
        ("c.yaml", "a: &x\n  <<: *x\n  b: 1\n"),
    ],
    ids=[
        "deep",
        "very deep",
        "deep list",
        "deep yaml",
        "open yaml",
        "alias to itself",
        "aliases",
        "merge of itself",
    ],
)
def test_bombs_are_refused_soon(tmp_path: Path, name: str, text: str) -> None:
    assert "64 levels" in refusal(tmp_path, text, name)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_number_of_absurd_length_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    refusal(tmp_path, '{"a": ' + "9" * 5000 + "}", name)


def test_a_file_of_absurd_length_is_refused_unread(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, "a: " + "x" * 500_000, "c.yaml")
        == "c.yaml: is larger than a config may be (500,000 bytes)"
    )


def test_sixty_levels_are_read(tmp_path: Path) -> None:
    value: Any = read(tmp_path, '{"a": ' * 60 + "1" + "}" * 60, "c.json").data
    for _ in range(60):
        value = value["a"]
    assert value == 1


# -- words of the command line --------------------------------------------------------------------------------------


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
        ("[1, 2", "[1, 2"),  # what is no YAML is text
        ("*x", "*x"),
        ("!!python/name:os.system x", "!!python/name:os.system x"),
        ("%", "%"),
    ],
)
def test_a_word_is_read_as_yaml_or_else_is_text(text: str, value: Any) -> None:
    got = parse_value(text)
    assert (got, type(got)) == (value, type(value))


# -- errors ---------------------------------------------------------------------------------------------------------


def test_twenty_findings_are_shown_and_the_rest_counted() -> None:
    findings = [Finding(Mark("c.json", line, 1), ("a", line), "is wrong") for line in range(1, 24)]
    lines = str(ConfigError(findings)).splitlines()
    assert len(lines) == 21
    assert lines[0] == "c.json:1:1: a.1: is wrong"
    assert lines[-1] == "and 3 more"


def test_a_finding_stays_on_one_line_whatever_the_value_holds() -> None:
    finding = Finding(Mark("c.json", 1, 1), ("a",), "wants int, not 'x\ny\x1b[31m'" + "z" * 1000)
    assert len(str(finding)) == 500
    assert "\n" not in str(finding)
    assert "\x1b" not in str(finding)
