"""The values of arguments against the annotations of their parameters."""

from __future__ import annotations

from typing import Any

import pytest

from config.read.merge import apply_override
from config.read.tree import Tree
from tests.config.probe import find, net, run_check

pytestmark = pytest.mark.usefixtures("probe_files")


@pytest.mark.parametrize(
    "args",
    [
        {"rate": 0.1},
        {"rate": 1},  # an int for a float
        {"name": "x"},
        {"deep": True},
        {"mode": "max"},
        {"mode": 3},
        {"limit": None},
        {"limit": 3},
        {"sizes": []},
        {"sizes": [1, 2]},
        {"sizes": None},
        {"color": "RED"},
        {"color": "r"},
        {"dtype": "float16"},
        {"dtype": "torch.bfloat16"},
        {"path": "data/x"},
        {"table": {"a": [1]}},
        {"anything": {"b": [1, "x"]}},
        {"implied": None},  # its own default
    ],
    ids=repr,
)
def test_a_fitting_value_is_accepted(args: dict[str, Any]) -> None:
    assert find("arch", net(**args)) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"size": 2.0}, "arch.args.size: wants int, not 2.0"),
        ({"size": True}, "arch.args.size: wants int, not True"),
        ({"size": "2"}, "arch.args.size: wants int, not '2'"),
        ({"size": None}, "arch.args.size: wants int, not None"),
        ({"rate": True}, "arch.args.rate: wants float, not True"),
        ({"rate": "fast"}, "arch.args.rate: wants float, not 'fast'"),
        ({"name": 7}, "arch.args.name: wants str, not 7"),
        ({"name": ["x"]}, "arch.args.name: wants str, not ['x']"),
        ({"deep": 1}, "arch.args.deep: wants bool, not 1"),
        ({"deep": "yes"}, "arch.args.deep: wants bool, not 'yes'"),
        ({"mode": "mid"}, "arch.args.mode: wants 'min' | 'max' | 3, not 'mid'"),
        ({"mode": 3.0}, "arch.args.mode: wants 'min' | 'max' | 3, not 3.0"),
        ({"limit": "x"}, "arch.args.limit: wants int | None, not 'x'"),
        ({"limit": False}, "arch.args.limit: wants int | None, not False"),
        ({"sizes": 3}, "arch.args.sizes: wants list[int] | None, not 3"),
        ({"sizes": [1, "a"]}, "arch.args.sizes: wants list[int] | None, not [1, 'a']"),
        ({"sizes": [True]}, "arch.args.sizes: wants list[int] | None, not [True]"),
        ({"color": "GREEN"}, "arch.args.color: wants RED | BLUE, not 'GREEN'"),
        ({"dtype": "float33"}, "arch.args.dtype: wants dtype, not 'float33'"),
        ({"dtype": "nn"}, "arch.args.dtype: wants dtype, not 'nn'"),
        ({"table": [1]}, "arch.args.table: wants dict[str, Any] | None, not [1]"),
    ],
    ids=repr,
)
def test_a_value_of_another_type_is_reported_with_the_annotation(
    args: dict[str, Any], message: str
) -> None:
    assert find("arch", net(**args)) == [message]


# -- overrides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("arch.args.name=007", "007"),
        ("arch.args.name=1e3", "1e3"),
        ("arch.args.name=true", "true"),
        ("arch.args.name=[1, 2]", "[1, 2]"),
        ("arch.args.name=a: b", "a: b"),
        ("arch.args.name=- a", "- a"),
        ("arch.args.name=run #3", "run #3"),
        ("arch.args.name= a ", " a "),
        ("arch.args.name=", ""),
        ("arch.args.name=null", "null"),
        ("arch.args.name=010", "010"),
        ("arch.args.limit=007", 7),
        ("arch.args.limit=null", None),
        ("arch.args.rate=1e-3", 0.001),
        ("arch.args.path=2024", "2024"),
    ],
)
def test_an_override_gives_its_text_to_a_parameter_that_wants_text(
    override: str, value: Any
) -> None:
    tree = Tree({"arch": net()})
    apply_override(tree, override)
    checker = run_check(tree, "arch")
    assert checker.findings == []
    key = override.partition("=")[0].rpartition(".")[2]
    got = tree.data["arch"]["args"][key]
    assert (got, type(got)) == (value, type(value))


def test_an_override_of_a_wrong_type_is_reported_with_its_text() -> None:
    tree = Tree({"arch": net()})
    apply_override(tree, "arch.args.rate=fast")
    checker = run_check(tree, "arch")
    assert (
        str(checker.findings[0]) == "arch.args.rate=fast: arch.args.rate: wants float, not 'fast'"
    )
