"""Trees into one: extends, overrides, and ``${key.path}``."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from config.read.merge import apply_override, find_config, load_tree, set_value
from config.read.references import interpolate
from config.read.source import read_tree
from config.read.tree import ConfigError, Mark, Tree


def write(folder: Path, **files: str) -> None:
    """Writes ``name.yaml`` for every ``name=text``; ``a__b`` is ``b.yaml`` in the folder ``a``."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def refusal(action: Any, *args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        action(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- extends --------------------------------------------------------------------------------------------------------


def test_the_extending_file_wins_and_sections_are_merged_at_any_depth(tmp_path: Path) -> None:
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
def test_what_are_not_two_sections_is_replaced(tmp_path: Path, child: str, result: Any) -> None:
    write(tmp_path, base="a: [1, 2]\n", child=f"extends: base.yaml\n{child}\n")
    assert load_tree(tmp_path / "child.yaml").data["a"] == result


def test_of_several_bases_the_later_wins(tmp_path: Path) -> None:
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


def test_two_bases_may_share_a_base(tmp_path: Path) -> None:
    write(
        tmp_path,
        root="a: 1\nb: 1\n",
        left="extends: root.yaml\nb: 2\n",
        right="extends: root.yaml\nc: 3\n",
        child="extends: [left.yaml, right.yaml]\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1, "b": 1, "c": 3}


def test_json_and_yaml_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"a": 1}', encoding="utf-8")
    write(tmp_path, child="extends: base.json\nb: 2\n")
    assert load_tree(tmp_path / "child.yaml").data == {"a": 1, "b": 2}


def test_an_empty_extends_is_none(tmp_path: Path) -> None:
    write(tmp_path, child="extends: null\nb: 2\n")
    assert load_tree(tmp_path / "child.yaml").data == {"b": 2}


def test_every_value_keeps_the_mark_of_the_file_it_came_from(tmp_path: Path) -> None:
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


def test_a_base_is_not_changed_through_what_extends_it(tmp_path: Path) -> None:
    write(tmp_path, base="a: {b: [1]}\n", child="extends: [base.yaml, base.yaml]\n")
    tree = load_tree(tmp_path / "child.yaml")
    tree.data["a"]["b"].append(2)
    assert read_tree(tmp_path / "base.yaml").data == {"a": {"b": [1]}}


def test_a_tilde_takes_an_inherited_key_away(tmp_path: Path) -> None:
    write(
        tmp_path,
        base="lr_scheduler: {type: StepLR}\noptimizer: {type: Adam, args: {lr: 1, amsgrad: true}}\n",
        child="extends: base.yaml\n~lr_scheduler:\noptimizer: {type: SGD, args: {~amsgrad: }}\n",
    )
    assert load_tree(tmp_path / "child.yaml").data == {
        "optimizer": {"type": "SGD", "args": {"lr": 1}}
    }


def test_a_tilde_that_takes_nothing_away_is_an_error_with_a_hint(tmp_path: Path) -> None:
    write(tmp_path, base="lr_scheduler: {}\n", child="extends: base.yaml\n~lr_schedular:\n")
    assert refusal(load_tree, tmp_path / "child.yaml") == (
        f"{tmp_path}/child.yaml:2:1: ~lr_schedular: there is no inherited 'lr_schedular' to remove "
        "(did you mean 'lr_scheduler'?)"
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
def test_bad_extends_are_told_with_file_and_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    write(tmp_path, **files)
    assert message in refusal(load_tree, tmp_path / "a.yaml")


# -- finding the file -----------------------------------------------------------------------------------------------


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
def test_a_config_is_found_in_its_folder_with_or_without_suffix(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str
) -> None:
    monkeypatch.chdir(request.config.rootpath)
    expected = "digits_gan.yaml" if "gan" in name else "config.json"
    assert find_config(name) == Path("config", expected)


def test_a_file_as_given_goes_before_the_config_folder(
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
def test_a_config_that_is_not_there_is_told_with_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(find_config, name)


# -- overrides ------------------------------------------------------------------------------------------------------


def tree() -> Tree:
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
    ],
)
def test_an_override_sets_one_value_by_yaml_rules(
    text: str, where: tuple[Any, ...], value: Any
) -> None:
    changed = tree()
    apply_override(changed, text)
    node: Any = changed.data
    for key in where:
        node = node[key]
    assert (node, type(node)) == (value, type(value))


def test_an_override_leaves_everything_else(tmp_path: Path) -> None:
    changed = tree()
    apply_override(changed, "a.b=5")
    assert changed.data == tree().data | {"a": {"b": 5, "c": {"d": 2}}}


@pytest.mark.parametrize(
    ("text", "where", "key"),
    [
        ("~a.c", ("a",), "c"),
        ("~t", (), "t"),
        ("~l.0.x", ("l", 0), "x"),
        ("~digits.0", ("digits",), "0"),
    ],
)
def test_a_tilde_takes_a_key_away(text: str, where: tuple[Any, ...], key: str) -> None:
    changed = tree()
    apply_override(changed, text)
    node: Any = changed.data
    for part in where:
        node = node[part]
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
def test_a_malformed_override_is_refused(text: str, message: str) -> None:
    told = refusal(apply_override, tree(), text)
    assert told.startswith(f"{text}: ")
    assert message in told


def test_a_key_of_foreign_digits_is_text_like_any_other() -> None:
    changed = tree()
    apply_override(changed, "a.²=1")
    assert changed.data["a"]["²"] == 1


def test_an_override_is_marked_by_its_own_text(tmp_path: Path) -> None:
    write(tmp_path, a="optimizer:\n  args:\n    lr: 1\n    momentum: 0\n")
    changed = load_tree(tmp_path / "a.yaml")
    apply_override(changed, "optimizer.args.lr=x")
    assert str(changed.error(("optimizer", "args", "lr"), "is wrong")).startswith(
        "optimizer.args.lr=x: "
    )
    assert changed.marks["optimizer", "args", "momentum"].line == 4


def test_an_error_inside_an_overridden_section_is_told_at_the_override(tmp_path: Path) -> None:
    write(tmp_path, a="optimizer:\n  args:\n    lr: 1\n")
    changed = load_tree(tmp_path / "a.yaml")
    apply_override(changed, "optimizer.args={lr: x}")
    assert str(changed.error(("optimizer", "args", "lr"), "is wrong")).startswith(
        "optimizer.args={lr: x}: "
    )


def test_set_value_makes_the_sections_on_the_way() -> None:
    changed = Tree({})
    set_value(changed, ("optimizer", "args", "lr"), 0.1, Mark("--lr 0.1"))
    assert changed.data == {"optimizer": {"args": {"lr": 0.1}}}
    assert (
        str(changed.error(("optimizer", "args", "lr"), "is wrong"))
        == "--lr 0.1: optimizer.args.lr: is wrong"
    )


# -- ${key.path} ----------------------------------------------------------------------------------------------------


def resolved(data: dict[str, Any]) -> dict[str, Any]:
    changed = Tree(data)
    interpolate(changed)
    return changed.data


@pytest.mark.parametrize("value", [3, 0.5, True, None, "text", [1, {"a": 2}], {"b": [1]}], ids=repr)
def test_a_reference_alone_takes_the_value_with_its_type(value: Any) -> None:
    got = resolved({"v": value, "r": "${v}", "deep": {"l": ["${ v }"]}})
    assert (got["r"], type(got["r"])) == (value, type(value))
    assert got["deep"]["l"][0] == value


def test_a_reference_inside_text_becomes_part_of_it() -> None:
    data = {"dir": "data", "n": 3, "a": {"b": "x"}, "r": "${dir}/${a.b}-${n}.pt"}
    assert resolved(data)["r"] == "data/x-3.pt"


def test_references_are_followed_through_each_other() -> None:
    assert resolved({"a": "${b}", "b": "${c.d}/x", "c": {"d": "${e}"}, "e": 7})["a"] == "7/x"


def test_a_referenced_section_has_its_own_references_resolved() -> None:
    assert resolved({"a": "${b}", "b": {"c": "${d}"}, "d": 1})["a"] == {"c": 1}


def test_a_reference_reaches_into_lists() -> None:
    assert resolved({"l": [{"x": 5}], "r": "${l.0.x}"})["r"] == 5


def test_a_reference_copies_what_it_takes() -> None:
    got = resolved({"a": [1], "b": "${a}", "c": "${a}"})
    got["b"].append(2)
    assert (got["a"], got["c"]) == ([1], [1])


def test_text_without_a_whole_reference_stays() -> None:
    data = {"a": "$b {b} ${b", "b": "$"}
    assert resolved(dict(data)) == data


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
def test_a_bad_reference_is_refused_with_a_hint(data: dict[str, Any], message: str) -> None:
    assert refusal(resolved, data) == message


def test_a_section_that_refers_to_itself_is_a_circle() -> None:
    assert "goes in a circle: a -> a" in refusal(resolved, {"a": {"b": "${a}"}})


def test_every_reference_of_a_circle_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved({"a": "${b}", "b": "${c}", "c": "${a}", "fine": "${n}", "n": 1})
    lines = str(caught.value).splitlines()
    assert lines[0] == "a: ${b} goes in a circle: b -> c -> a -> b"
    assert len(lines) == 3


@pytest.mark.parametrize("unit", ["${%s}${%s}", ["${%s}", "${%s}"]], ids=["text", "lists"])
def test_references_that_double_each_other_are_no_bomb(unit: Any) -> None:
    names = [f"k{number}" for number in range(40)]  # 2^40 in the end
    data: dict[str, Any] = {names[0]: "x" * 100}
    for before, name in itertools.pairwise(names):
        data[name] = (
            unit % (before, before) if isinstance(unit, str) else [part % before for part in unit]
        )
    with contextlib.suppress(ConfigError):  # refused or cut short, and soon
        assert sum(len(str(value)) for value in resolved(data).values()) < 10_000_000


def test_long_text_is_never_cut_in_silence() -> None:
    with contextlib.suppress(ConfigError):
        assert resolved({"a": "x" * 20_000, "r": "-${a}-"})["r"] == "-" + "x" * 20_000 + "-"


def test_a_bad_reference_is_told_where_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, a="x:\n  - ok\n  - ${nowhere}\n")
    assert refusal(interpolate, load_tree(tmp_path / "a.yaml")).startswith(
        f"{tmp_path}/a.yaml:3:5: x.1: "
    )
