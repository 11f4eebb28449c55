"""What is wrong with a JSON or YAML file, in one line with its position."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.read.source import read_tree
from config.read.tree import ConfigError


def read_error(folder: Path, text: str | bytes, name: str) -> str:
    """Returns the one line that reports ``text``, without the folder in front."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_tree(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message.removeprefix(f"{folder}/")


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
def test_malformed_text_is_reported_in_one_line_with_its_position(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    assert read_error(tmp_path, text, name) == message


@pytest.mark.parametrize(
    ("text", "position"),
    [('{\n"a": NaN}', "2:6: a"), ('{"NaN": "NaN",\n\n"a": [\n NaN]}', "4:2: a.0")],
)
def test_nan_is_reported_with_its_position(tmp_path: Path, text: str, position: str) -> None:
    assert read_error(tmp_path, text, "c.json") == f"c.json:{position}: JSON has no NaN"


def test_a_control_character_is_an_error(tmp_path: Path) -> None:
    assert "c.yaml:1:4: the control character #x0000 is not allowed" in read_error(
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
def test_yaml_tags_that_make_objects_are_errors(tmp_path: Path, tag: str) -> None:
    assert "is not allowed here" in read_error(tmp_path, f"a: {tag}\n", "c.yaml")


def test_a_folder_is_reported_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tree(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: is a folder"


@pytest.mark.parametrize(
    ("name", "reason"), [("none.json", "No such file or directory"), ("a\0b", "null byte")]
)
def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read_tree(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["a: {<<: 5}", "b: &b [1]\na: {<<: *b}", "b: &b {x: 1}\na: {<<: [*b, 5]}"]
)
def test_only_mappings_can_be_merged(tmp_path: Path, text: str) -> None:
    assert read_error(tmp_path, text, "c.yaml").startswith("c.yaml:")


# -- bombs -----------------------------------------------------------------------------------------

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
def test_bombs_are_rejected_quickly(tmp_path: Path, name: str, text: str) -> None:
    assert "64 levels" in read_error(tmp_path, text, name)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_number_of_thousands_of_digits_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    read_error(tmp_path, '{"a": ' + "9" * 5000 + "}", name)


def test_a_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    assert (
        read_error(tmp_path, "a: " + "x" * 500_000, "c.yaml")
        == "c.yaml: is larger than a config may be (500,000 bytes)"
    )
