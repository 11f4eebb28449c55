"""Finding config files, and ``extends``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.read.merge import find_config, load_tree
from config.read.source import read_tree
from config.read.tree import ConfigError, Mark


def write(folder: Path, **files: str) -> None:
    """Writes ``name.yaml`` for every ``name=text``; ``a__b`` is ``b.yaml`` in the folder ``a``."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def get_error(action: Any, *args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        action(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- extends ---------------------------------------------------------------------------------------


def test_the_extending_file_wins_and_sections_merge_at_any_depth(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="name: base\na: {b: {c: 1, d: 2}, l: [1, 2]}\nkept: 5\n",
        child="extends: base.yaml\nname: child\na: {b: {d: 3}, l: [9], e: 4}\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {
        "name": "child",
        "a": {"b": {"c": 1, "d": 3}, "l": [9], "e": 4},
        "kept": 5,
    }


@pytest.mark.parametrize(
    ("child", "result"),
    [("a: 5", 5), ("a: {x: 1}", {"x": 1}), ("a: null", None), ("a: [3]", [3])],
    ids=["number", "section over a list", "null", "list"],
)
def test_only_sections_are_merged_and_other_values_replaced(
    tmp_path: Path, child: str, result: Any
) -> None:
    write(tmp_path, base="a: [1, 2]\n", child=f"extends: base.yaml\n{child}\n")
    assert load_tree(tmp_path / "child.yaml").data["a"] == result


def test_the_last_of_several_bases_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        one="a: 1\nb: 1\nc: 1\n",
        two="b: 2\nc: 2\n",
        child="extends: [one.yaml, two.yaml]\nc: 3\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1, "b": 2, "c": 3}


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        root="a: 1\n",
        sub__middle="extends: ../root.yaml\nb: 2\n",
        sub__deep__leaf="extends: ../middle.yaml\nc: 3\n",
    )
    assert load_tree(tmp_path / "sub/deep/leaf.yaml").data == {"a": 1, "b": 2, "c": 3}


def test_a_link_to_a_config_finds_its_bases_beside_itself_or_beside_the_file(
    tmp_path: Path,
) -> None:
    write(tmp_path, real__base="a: 1\n", real__child="extends: base.yaml\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real" / "child.yaml")
    assert load_tree(tmp_path / "link.yaml").data == {"a": 1}
    write(tmp_path, base="a: 2\n")
    assert load_tree(tmp_path / "link.yaml").data == {"a": 2}


def test_two_bases_may_extend_the_same_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        root="a: 1\nb: 1\n",
        left="extends: root.yaml\nb: 2\n",
        right="extends: root.yaml\nc: 3\n",
        child="extends: [left.yaml, right.yaml]\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1, "b": 2, "c": 3}


def test_a_file_is_read_once_before_all_that_extend_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        root="a: 1\nb: 1\nc: 1\n",
        left="extends: root.yaml\na: 2\n~b:\n",
        middle="extends: root.yaml\nc: 3\n",
        sub__right="extends: ../middle.yaml\nd: 4\n",
        child="extends: [left.yaml, sub/right.yaml, root.yaml]\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {"a": 2, "c": 3, "d": 4}


def test_json_and_yaml_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"a": 1}', encoding="utf-8")
    write(tmp_path, child="extends: base.json\nb: 2\n")
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1, "b": 2}


def test_an_empty_extends_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, child="extends: null\nb: 2\n")
    assert load_tree(tmp_path / "child.yaml").data == {"b": 2}


def test_every_value_keeps_the_mark_of_its_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="a:\n  b: 1\n  c: {d: 1}\nl: [{x: 1}]\n",
        child="extends: base.yaml\na:\n  b: 2\nl: [7]\n",
    )
    marks = load_tree(tmp_path / "child.yaml").marks
    base, child = str(tmp_path / "base.yaml"), str(tmp_path / "child.yaml")
    assert marks["a", "b"] == Mark(child, 3, 3)
    assert marks["a", "c", "d"] == Mark(base, 3, 7)
    assert marks["l", 0] == Mark(child, 4, 5)
    assert ("l", 0, "x") not in marks


def test_a_change_of_the_merged_tree_does_not_reach_the_base(tmp_path: Path) -> None:
    write(tmp_path, base="a: {b: [1]}\n", child="extends: [base.yaml, base.yaml]\n")
    tree = load_tree(tmp_path / "child.yaml")
    tree.data["a"]["b"].append(2)
    assert read_tree(tmp_path / "base.yaml").data == {"a": {"b": [1]}}


def test_a_tilde_removes_an_inherited_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="lr_scheduler: {type: StepLR}\n"
        "optimizer: {type: Adam, args: {lr: 1, amsgrad: true}}\n",
        child="extends: base.yaml\n~lr_scheduler:\noptimizer: {type: SGD, args: {~amsgrad: }}\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {
        "optimizer": {"type": "SGD", "args": {"lr": 1}}
    }


@pytest.mark.parametrize("lines", ["  args: {lr: 2}\n  ~args:\n", "  ~args:\n  args: {lr: 2}\n"])
def test_a_tilde_removes_only_what_was_inherited(tmp_path: Path, lines: str) -> None:
    write(
        tmp_path,
        base="optimizer: {type: Adam, args: {lr: 1, amsgrad: true}}\n",
        child=f"extends: base.yaml\noptimizer:\n{lines}",
    )
    tree = load_tree(tmp_path / "child.yaml")
    assert tree.data == {"optimizer": {"type": "Adam", "args": {"lr": 2}}}
    assert tree.marks["optimizer", "args", "lr"].source.endswith("child.yaml")


def test_a_tilde_takes_no_value(tmp_path: Path) -> None:
    write(tmp_path, base="a: {b: 1}\n", child="extends: base.yaml\n~a: {b: 2}\n")
    message = "~a: removes the inherited 'a' and takes no value; set 'a' beside it"
    assert message in get_error(load_tree, tmp_path / "child.yaml")


def test_a_tilde_that_removes_nothing_is_an_error_with_a_hint(tmp_path: Path) -> None:
    write(tmp_path, base="lr_scheduler: {}\n", child="extends: base.yaml\n~lr_schedular:\n")
    assert get_error(load_tree, tmp_path / "child.yaml") == (
        f"{tmp_path}/child.yaml:2:1: ~lr_schedular: "
        "there is no inherited 'lr_schedular' to remove (did you mean 'lr_scheduler'?)"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: a.yaml\n"}, "a circle"),
        (
            {"a": "extends: b.yaml\n", "b": "extends: c.yaml\n", "c": "extends: a.yaml\n"},
            "a circle",
        ),
        ({"a": "x: 1\nextends: none.yaml\n"}, "a.yaml:2:1: extends: no such file"),
        ({"a": "extends: 5\n"}, "a.yaml:1:1: extends: no such file"),
        (
            {"a": "extends: [b.yaml, none.yaml]\n", "b": "x: 1\n"},
            "a.yaml:1:1: extends: no such file",
        ),
        ({"a": "extends: b.yaml\n", "b": "[1]\n"}, "b.yaml: holds a list"),
        ({"a": "extends: b.yaml\n", "b": "x: 1\nx: 2\n"}, "b.yaml:2:1: x: given twice"),
        ({"a": "extends: .\n"}, "a.yaml:1:1: extends: no such file"),
    ],
    ids=[
        "itself",
        "circle of three",
        "missing",
        "number",
        "second missing",
        "base a list",
        "bad base",
        "folder",
    ],
)
def test_bad_extends_are_reported_with_file_and_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    write(tmp_path, **files)
    assert message in get_error(load_tree, tmp_path / "a.yaml")


# -- finding the file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "config.json",
        "config/config.json",
        "config/config",
        "digits_gan",
        "digits_gan.yaml",
    ],
)
def test_a_config_is_found_in_the_config_folder_with_or_without_suffix(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str
) -> None:
    monkeypatch.chdir(request.config.rootpath)
    expected = "digits_gan.yaml" if "gan" in name else "config.json"
    assert find_config(name) == Path("config", expected)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, base="a: 1\n", child="extends: ~/base.yaml\n")
    assert find_config("~/child") == tmp_path / "child.yaml"
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1}


def test_a_file_as_given_comes_before_the_config_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, digits_gan="a: 1\n")
    monkeypatch.chdir(tmp_path)
    assert find_config("digits_gan").resolve() == tmp_path / "digits_gan.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist_lenet.jsn", "did you mean 'mnist_lenet.json'?"),
        ("zzz", "there are: breast_cancer_mlp.yaml, "),
        (".", "is a folder"),
        ("a\0b", "no such config"),
        ("x" * 300, "no such config"),
    ],
    ids=["typo", "nothing like it", "folder", "NUL", "too long"],
)
def test_a_missing_config_is_reported_with_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in get_error(find_config, name)
