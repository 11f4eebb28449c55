"""``KEY=VALUE`` and ``~KEY``: overrides of single values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.read.merge import apply_override, set_value
from config.read.source import read_tree
from config.read.tree import ConfigError, Mark, Tree, join_keys, split_keys

FILE = "optimizer:\n  args:\n    lr: 1\n    momentum: 0\n"


@pytest.fixture
def file_tree(tmp_path: Path) -> Tree:
    """A config that was read from a file."""
    path = tmp_path / "a.yaml"
    path.write_text(FILE, encoding="utf-8")
    return read_tree(path)


def make_tree() -> Tree:
    return Tree(
        {
            "a": {"b": 1, "c": {"d": 2}},
            "l": [{"x": 1}, 2],
            "t": "text",
            "none": None,
            "digits": {"0": "zero"},
        }
    )


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        ("a.b=3e-4", ("a", "b"), 3e-4),
        ("a.c.d=[1, 2]", ("a", "c", "d"), [1, 2]),
        ("a.c={x: true}", ("a", "c"), {"x": True}),
        ("new=text", ("new",), "text"),
        ("new.deep.key=1", ("new", "deep", "key"), 1),
        ("none.key=1", ("none", "key"), 1),
        ("l.1=7", ("l", 1), 7),
        ("l.0.x=7", ("l", 0, "x"), 7),
        ("digits.0=7", ("digits", "0"), 7),
        ("a.b=", ("a", "b"), None),
        ("a.b=x=y", ("a", "b"), "x=y"),
        ("a.b=[${t}, {x: ${a.b}}]", ("a", "b"), ["${t}", {"x": "${a.b}"}]),
        ("a.b={x: $${t}}", ("a", "b"), {"x": "$${t}"}),
    ],
)
def test_an_override_sets_one_value_by_yaml_rules(
    text: str, where: tuple[Any, ...], value: Any
) -> None:
    changed = make_tree()
    apply_override(changed, text)
    node: Any = changed.data
    for key in where:
        node = node[key]
    assert (node, type(node)) == (value, type(value))


def test_an_override_changes_nothing_else() -> None:
    changed = make_tree()
    apply_override(changed, "a.b=5")
    assert changed.data == make_tree().data | {"a": {"b": 5, "c": {"d": 2}}}


@pytest.mark.parametrize(
    ("text", "where", "key"),
    [
        ("~a.c", ("a",), "c"),
        ("~t", (), "t"),
        ("~l.0.x", ("l", 0), "x"),
        ("~digits.0", ("digits",), "0"),
    ],
)
def test_a_tilde_removes_a_key(text: str, where: tuple[Any, ...], key: str) -> None:
    changed = make_tree()
    apply_override(changed, text)
    node: Any = changed.data
    for word in where:
        node = node[word]
    assert key not in node


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "an override is written KEY=VALUE, as in trainer.epochs=2"),
        ("=1", "an override is written KEY=VALUE, as in trainer.epochs=2"),
        ("a..b=1", "an override is written KEY=VALUE, as in trainer.epochs=2"),
        ("~", "an override is written KEY=VALUE, as in trainer.epochs=2"),
        ("~a=5", "an override is written KEY=VALUE, as in trainer.epochs=2"),
        ("~a.x", "there is no such key to remove"),
        ("~t.x", "there is no such key to remove"),
        ("~a.b.x.y", "there is no such key to remove"),
        ("~l.7", "there is no such key to remove"),
        ("~l.-1", "there is no such key to remove"),
        ("l.2=1", "l.2: this list takes an index from 0 to 1"),
        ("l.-1=1", "l.-1: this list takes an index from 0 to 1"),
        ("l.x=1", "l.x: this list takes an index from 0 to 1"),
        ("l.²=1", "l.²: this list takes an index from 0 to 1"),
        ("l.5.x=1", "l.5: this list takes an index from 0 to 1"),
        ("t.x=1", "t.x: t is the value 'text' and has no keys"),
        ("t.x.y=1", "t.x: t is the value 'text' and has no keys"),
    ],
)
def test_a_malformed_override_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_override(make_tree(), text)
    assert str(caught.value).startswith(f"{text}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_non_decimal_digits_is_text() -> None:
    changed = make_tree()
    apply_override(changed, "a.²=1")
    assert changed.data["a"]["²"] == 1


def test_a_later_override_of_the_section_replaces_the_text_of_a_value() -> None:
    changed = make_tree()
    apply_override(changed, "a.b=007")
    apply_override(changed, "a={b: 8}")
    assert changed.raw == {("a",): "{b: 8}"}


def test_an_override_is_marked_by_its_text(file_tree: Tree) -> None:
    apply_override(file_tree, "optimizer.args.lr=x")
    error = file_tree.error(("optimizer", "args", "lr"), "is wrong")
    assert str(error).startswith("optimizer.args.lr=x: ")
    assert file_tree.marks["optimizer", "args", "momentum"].line == 4


def test_an_error_inside_an_overridden_section_is_reported_at_the_override(file_tree: Tree) -> None:
    apply_override(file_tree, "optimizer.args={lr: x}")
    error = file_tree.error(("optimizer", "args", "lr"), "is wrong")
    assert str(error).startswith("optimizer.args={lr: x}: ")


def test_set_value_makes_missing_sections() -> None:
    changed = Tree({})
    set_value(changed, ("optimizer", "args", "lr"), 0.1, Mark("--lr 0.1"))
    assert changed.data == {"optimizer": {"args": {"lr": 0.1}}}
    error = changed.error(("optimizer", "args", "lr"), "is wrong")
    assert str(error) == "--lr 0.1: optimizer.args.lr: is wrong"


def test_a_replaced_value_is_remembered_with_its_mark(file_tree: Tree) -> None:
    first = file_tree.marks["optimizer", "args", "lr"]
    apply_override(file_tree, "optimizer.args.lr=2")
    apply_override(file_tree, "optimizer.args.lr=3")
    assert file_tree.replaced["optimizer", "args", "lr"] == [
        (first, 1),
        (Mark("optimizer.args.lr=2"), 2),
    ]
    assert file_tree.raw["optimizer", "args", "lr"] == "3"


def test_a_key_with_dots_is_written_in_quotes() -> None:
    tree = Tree({"map": {"a.*": 1, "b=c.d": 2, "e": 3}})
    words = ['map."a.*"=x=y', '~map."b=c.d"', 'map."new.key".z=4', 'map.e="5"']
    for word in words:
        apply_override(tree, word)
    assert tree.data["map"] == {"a.*": "x=y", "e": "5", "new.key": {"z": 4}}
    keys = ("map", "new.key", "z")
    assert split_keys(join_keys(keys)) == keys
    with pytest.raises(ConfigError, match=r"there is no such key to remove \(did you mean 'a\.\*'"):
        apply_override(tree, '~map."a.x"')
