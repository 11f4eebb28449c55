"""What an annotation says arrives, or the check refuses it with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from base.schema import SCHEMA
from config import ConfigError, ConfigParser
from config.check.json_schema import make_json_schema
from config.check.preflight import examine
from config.read.merge import apply_override
from config.read.tree import Tree
from tests.config import typed
from tests.config.experiment import CONFIG
from tests.config.typed import Color, Crop, Noise, Point, Typed, Widths

NOISE: Noise = {"type": "gaussian"}


@pytest.fixture(autouse=True)
def typed_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``Typed`` a class of model/model.py."""
    import model.model

    monkeypatch.setattr(Typed, "__module__", "model.model")
    for name in ("Typed", "Mapping", "Widths", "Point", "Noise", "Size", "Annotated", "Literal"):
        monkeypatch.setattr(model.model, name, getattr(typed, name), raising=False)


def make_parser(args: dict[str, Any], *overrides: str) -> ConfigParser:
    tree = Tree(dict(CONFIG) | {"arch": {"type": "Typed", "args": args}})
    for override in overrides:
        apply_override(tree, override)
    return ConfigParser(tree)


def build(args: dict[str, Any], *overrides: str) -> dict[str, Any]:
    """Returns the arguments that the model got, also from the saved config."""
    config = make_parser(args, *overrides)
    config.check(SCHEMA)
    saved = ConfigParser(config.plain())
    saved.check(SCHEMA)
    got: dict[str, Any] = config.build("arch").got
    assert "Linear" in repr(got) or repr(saved.build("arch").got) == repr(got)
    return got


def find(args: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_parser(args).check(SCHEMA)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("key", "value", "made"),
    [
        ("levels", {"0": 0.1, "12": 1}, {0: 0.1, 12: 1}),
        ("shape", [3, 4], (3, 4)),
        ("pairs", [[1, "a"], [2, "b"]], [(1, "a"), (2, "b")]),
        ("names", ["a", "a"], frozenset("a")),
        ("widths", {"hidden": 3}, Widths(3)),
        ("widths", None, None),
        (
            "widths",
            {"hidden": 3, "crop": {"size": [1, 2], "color": 2}, "__comment": "-"},
            Widths(3, Crop((1, 2), Color.BLUE)),
        ),
        (
            "widths",
            {"hidden": 3, "by_level": {"7": {"color": "RED"}}, "inner": [{"hidden": 4}]},
            Widths(3, by_level={7: Crop()}, inner=[Widths(4)]),
        ),
        ("many", {"a": {"hidden": 5}}, {"a": Widths(5)}),
        ("point", {"x": 1}, Point(1)),
        ("point", [1, 2.5], Point(1, 2.5)),
        ("noise", NOISE, NOISE),
        ("table", {"type": "gaussian", "args": {"a": 1}}, {"type": "gaussian", "args": {"a": 1}}),
        ("either", [1, 2], (1, 2)),
        ("either", 3, 3),
        ("size", 3, 3),
        ("ratio", 2, 2),
        ("folder", "~/x", Path.home() / "x"),
        ("data_dir", "~/x", str(Path.home() / "x")),
        ("text", "~/x", "~/x"),
        ("plain", [[1], {"a": [2]}], [[1], {"a": [2]}]),
        ("text", "$${a} and $$${b}", "${a} and $${b}"),
    ],
    ids=repr,
)
def test_an_argument_is_made_as_its_annotation_says(key: str, value: Any, made: Any) -> None:
    got = build({key: value})[key]
    assert (got, type(got)) == (made, type(made))


def test_components_inside_a_dataclass_or_a_mapping_are_made() -> None:
    linear = {"type": "Linear", "args": {"in_features": 1, "out_features": 2}}
    got = build({"widths": {"hidden": 1, "layer": linear}, "layers": {"a": linear}})
    assert isinstance(got["widths"].layer, nn.Linear)
    assert isinstance(got["layers"]["a"], nn.Linear)


def test_a_parameter_without_annotation_takes_any_component() -> None:
    linear = {"type": "Linear", "args": {"in_features": 1, "out_features": 2}}
    assert isinstance(build({"loose": linear})["loose"], nn.Linear)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"levels": {"x": 1}}, "levels.x: the key must be int, not 'x'"),
        ({"levels": {"1": 1, "01": 1}}, "levels.01: the key 1 is given twice"),
        ({"shape": [1]}, "shape: wants tuple[int, int], not [1]"),
        ({"pairs": [[1, "a"], [2, 3]]}, "pairs.1: wants tuple[int, str], not [2, 3]"),
        (
            {"widths": {"hiden": 8}},
            "widths.hiden: Widths takes no 'hiden' (did you mean 'hidden'?)",
        ),
        ({"widths": {}}, "widths: Widths needs 'hidden'"),
        (
            {"widths": {"hidden": 1, "crop": {"sise": [1, 2]}}},
            "widths.crop.sise: Crop takes no 'sise' (did you mean 'size'?)",
        ),
        (
            {"widths": {"hidden": 1, "inner": [{"hidden": "x"}]}},
            "inner.0.hidden: wants int, not 'x'",
        ),
        ({"widths": 3}, "widths: wants "),
        ({"many": {"a": {"hidden": "x"}}}, "many.a.hidden: wants int, not 'x'"),
        ({"point": {"y": 1}}, "point: Point needs 'x'"),
        ({"noise": {"typ": "x"}}, "noise.typ: Noise takes no 'typ' (did you mean 'type'?)"),
        ({"layers": {"a": {"type": "Linaer"}}}, "layers.a.type: no 'Linaer' in "),
        ({"either": [1, 2, 3]}, "either: wants "),
        ({"mode": True}, "mode: wants 'a' | 1, not True"),
        ({"size": "x"}, "size: wants "),
        ({"data_dir": "~nobody-here/x"}, "data_dir: ~nobody-here/x: there is no home folder for "),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_made_is_refused(args: dict[str, Any], message: str) -> None:
    (line,) = find(args)
    assert message in line


def test_an_annotation_that_cannot_be_resolved_hides_no_other() -> None:
    assert find({"shape": "ten", "hook": 5}) == [
        "arch.args.shape: wants tuple[int, int], not 'ten'"
    ]


def test_a_refusal_of_a_dataclass_names_its_key() -> None:
    config = make_parser({"widths": {"hidden": 0}})
    config.check(SCHEMA)
    with pytest.raises(ConfigError, match=r"^arch\.args\.widths: hidden must be at least 1"):
        config.build("arch")


def test_a_program_gets_copies_in_plain_dicts() -> None:
    config = make_parser({"plain": {"a": [{"b": 1}]}, "table": {"c": {"d": [1]}}})
    config.check(SCHEMA)
    got = config.build("arch").got
    values = [got["plain"], got["plain"]["a"][0], got["table"], got["table"]["c"]]
    assert {type(value) for value in values} == {dict}
    got["plain"]["a"].append(2)
    got["table"]["c"]["d"].append(2)
    assert config["arch"]["args"] == {"plain": {"a": [{"b": 1}]}, "table": {"c": {"d": [1]}}}


def test_init_obj_converts_as_well() -> None:
    got = (
        make_parser({"shape": [1, 2], "levels": {"1": 2}, "size": "x"}).init_obj("arch", typed).got
    )
    assert (got["shape"], got["levels"]) == ((1, 2), {1: 2})
    assert got["size"] == "x"  # as in an old project that nobody has checked


@pytest.mark.parametrize(
    ("override", "made"),
    [
        ("widths.hidden=5", Widths(5)),
        ("many.a.hidden=5", {"a": Widths(5)}),
        ("levels.3=1", {3: 1}),
        ("table.a=007", {"a": 7}),
        ("names=[a, a]", frozenset("a")),
    ],
)
def test_an_override_reaches_into_a_typed_argument(override: str, made: Any) -> None:
    assert build({}, f"arch.args.{override}")[override.split(".")[0].split("=")[0]] == made


def test_explain_and_the_editor_know_the_fields_of_a_dataclass() -> None:
    takers = examine(make_parser({"widths": {"hidden": 1}}).tree, SCHEMA).takers
    keys = ("arch", "args", "widths", "crop")
    assert takers[keys][0].endswith("Widths")
    definition = make_json_schema(SCHEMA)["$defs"]["tests.config.typed.Widths"]
    reference = {"$ref": "#/$defs/tests.config.typed.Widths"}
    assert definition["properties"]["inner"]["items"] == reference
    assert not definition["additionalProperties"]
