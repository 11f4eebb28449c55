"""Several files, as of several ``-c``, become one config."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.read.merge import load_tree
from config.read.tree import ConfigError, Mark
from tests.config.read.test_merge import get_error, write


def test_several_files_merge_as_bases_do_and_the_last_one_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        root="a: {x: 1, y: 1, z: 1}\n",
        one="extends: root.yaml\na: {y: 2}\nb: [1, 2]\ngone: 1\n",
        two="extends: root.yaml\na: {z: 3}\nb: [3]\n~gone: \n",
    )
    tree = load_tree(tmp_path / "one.yaml", tmp_path / "two.yaml")
    assert tree.data == {"a": {"x": 1, "y": 2, "z": 3}, "b": [3]}
    assert tree.marks["a", "y"] == Mark(str(tmp_path / "one.yaml"), 2, 5)
    assert tree.marks["a", "z"] == Mark(str(tmp_path / "two.yaml"), 2, 5)


@pytest.mark.parametrize(
    ("names", "values"),
    [
        ("base child", {"a": 2, "b": 1}),
        ("child base", {"a": 1, "b": 1, "c": 1}),
        ("child base child", {"a": 2, "b": 1}),
        ("child child", {"a": 2, "b": 1}),
    ],
)
def test_a_file_that_was_read_before_wins_again(
    tmp_path: Path, names: str, values: dict[str, int]
) -> None:
    write(tmp_path, base="a: 1\nb: 1\nc: 1\n", child="extends: base.yaml\na: 2\n~c: \n")
    paths = [tmp_path / f"{name}.yaml" for name in names.split()]
    assert load_tree(*paths).data == values


def test_the_mistakes_of_several_files_are_listed_once(tmp_path: Path) -> None:
    write(tmp_path, bad="a: 1\na: 2\n", one="extends: bad.yaml\n", two="extends: bad.yaml\nb: [")
    with pytest.raises(ConfigError) as caught:
        load_tree(tmp_path / "one.yaml", tmp_path / "two.yaml", tmp_path / "bad.yaml")
    sources = [finding.mark.source for finding in caught.value.findings if finding.mark]
    assert sources == [str(tmp_path / "bad.yaml"), str(tmp_path / "two.yaml")]


def test_a_removal_in_a_file_without_bases_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, a="~b: \n")
    assert "~b: there is no inherited 'b' to remove" in get_error(load_tree, tmp_path / "a.yaml")
