"""``${key.path}``: references to other values of a config."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from config.read.references import escape_references, interpolate
from config.read.source import read_tree
from config.read.tree import ConfigError, Tree


def get_error(data: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def resolve(data: dict[str, Any]) -> dict[str, Any]:
    changed = Tree(data)
    interpolate(changed)
    return changed.data


@pytest.mark.parametrize("value", [3, 0.5, True, None, "text", [1, {"a": 2}], {"b": [1]}], ids=repr)
def test_a_reference_without_other_text_keeps_the_type_of_the_value(value: Any) -> None:
    got = resolve({"v": value, "r": "${v}", "deep": {"l": ["${ v }"]}})
    assert (got["r"], type(got["r"])) == (value, type(value))
    assert got["deep"]["l"][0] == value


def test_a_reference_inside_text_becomes_text() -> None:
    data = {"dir": "data", "n": 3, "a": {"b": "x"}, "r": "${dir}/${a.b}-${n}.pt"}
    assert resolve(data)["r"] == "data/x-3.pt"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$${a}", "${a}"),
        ("x $${a} ${a}", "x ${a} 7"),
        ("$$${a}", "$${a}"),
        ("$$", "$$"),
        ("$${a", "$${a"),
    ],
)
def test_a_second_dollar_makes_plain_text(text: str, value: str) -> None:
    resolved = resolve({"a": 7, "r": text, "copy": "${r}", "l": [{"r": text}]})
    assert (resolved["r"], resolved["copy"], resolved["l"]) == (value, value, [{"r": value}])
    assert resolve(escape_references(resolved)) == resolved


def test_references_to_references_are_followed() -> None:
    assert resolve({"a": "${b}", "b": "${c.d}/x", "c": {"d": "${e}"}, "e": 7})["a"] == "7/x"


def test_references_inside_a_referenced_section_are_resolved() -> None:
    assert resolve({"a": "${b}", "b": {"c": "${d}"}, "d": 1})["a"] == {"c": 1}


def test_a_reference_reaches_into_lists() -> None:
    assert resolve({"l": [{"x": 5}], "r": "${l.0.x}"})["r"] == 5


def test_a_reference_is_a_copy() -> None:
    got = resolve({"a": [1], "b": "${a}", "c": "${a}"})
    got["b"].append(2)
    assert (got["a"], got["c"]) == ([1], [1])


def test_text_without_a_complete_reference_stays() -> None:
    data = {"a": "$b {b} ${b", "b": "$"}
    assert resolve(dict(data)) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": "${a}"}, "a: ${a} goes in a circle: a -> a"),
        (
            {"data_dir": "x", "r": "${data_dri}"},
            "r: ${data_dri}: the config has no such key (did you mean 'data_dir'?)",
        ),
        (
            {"a": {"lr": 1}, "r": "${a.lrr}"},
            "r: ${a.lrr}: the config has no such key (did you mean 'lr'?)",
        ),
        ({"a": 1, "r": "${a.b}"}, "r: ${a.b}: the config has no such key"),
        ({"l": [1], "r": "${l.1}"}, "r: ${l.1}: the config has no such key"),
        ({"r": "x${}"}, "r: ${}: the config has no such key"),
    ],
)
def test_a_bad_reference_is_reported_with_a_hint(data: dict[str, Any], message: str) -> None:
    assert get_error(data) == message


def test_a_section_that_refers_to_itself_is_reported() -> None:
    assert "goes in a circle: a -> a" in get_error({"a": {"b": "${a}"}})


def test_every_reference_of_a_circle_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"a": "${b}", "b": "${c}", "c": "${a}", "fine": "${n}", "n": 1})
    lines = str(caught.value).splitlines()
    assert lines[0] == "a: ${b} goes in a circle: b -> c -> a -> b"
    assert len(lines) == 3


@pytest.mark.parametrize("unit", ["${%s}${%s}", ["${%s}", "${%s}"]], ids=["text", "lists"])
def test_references_that_double_each_other_stay_small(unit: Any) -> None:
    names = [f"k{number}" for number in range(40)]  # 2^40 in the end
    data: dict[str, Any] = {names[0]: "x" * 100}
    for before, name in itertools.pairwise(names):
        data[name] = (
            unit % (before, before) if isinstance(unit, str) else [part % before for part in unit]
        )
    with contextlib.suppress(ConfigError):  # an error, and quickly
        assert sum(len(str(value)) for value in resolve(data).values()) < 10_000_000


def test_long_text_is_never_shortened_silently() -> None:
    with contextlib.suppress(ConfigError):
        assert resolve({"a": "x" * 20_000, "r": "-${a}-"})["r"] == "-" + "x" * 20_000 + "-"


def test_a_bad_reference_is_reported_where_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("x:\n  - ok\n  - ${nowhere}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        interpolate(read_tree(path))
    assert str(caught.value).startswith(f"{path}:3:5: x.1: ")


def test_the_referenced_top_level_keys_are_returned() -> None:
    tree = Tree({"a": {"b": 1}, "c": "${a.b}/${d}", "d": "x", "e": 1})
    assert interpolate(tree) == {"a", "d"}
