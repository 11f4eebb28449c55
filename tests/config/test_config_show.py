"""``python -m config show``: what it prints is the same config again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from config import ConfigParser
from config.read.merge import load_tree
from config.read.source import read_tree
from tests.config.experiment import Look
from tests.helpers import run
from tests.test_shipped_configs import CONFIGS

TEXTS = [
    "on", "no", "true", "null", "~", "1e-3", "012", "0o17", "0x1F", "2020-01-01", "1_000",
    ".inf", "-.inf", ".nan", ".", "", " ", " x ", "a: b", "a:", ":a", "#x", "a #b", "- a", "-",
    "? a", "*x", "&x", "!x", "%x", "@x", "`x", "|", ">", "{a}", "[a]", "a, b", "'", '"', "it's",
    '"x"', "\\", "a\nb", "a\tb", "\r", "日本 é", "😀", "\x85", "\u2028", "\ufeffx",
    "\U000e0001", "1e999", "\x1b[31m", "\x7f", "\u202e", "<<", "=", "${", "x" * 300,
]  # fmt: skip
VALUES = [
    True, None, 0, -1, 12345678901234567890, 0.1, 1e300, 1e-300, -0.0, float("inf"),
    -float("inf"), {}, [], [[]], [{}], [1, "1", [2, ["a", None]]],
    [{"a": 1, "b c": [True, {"d": "#"}]}, "x"], [float("inf"), "x"],
    [{"a": -float("inf"), "b": ".inf"}], {"a": {"b": {"c": [], "d": {}}}}, [[{"a": 1}]],
]  # fmt: skip
KEYS = [
    "on", "true", "null", "1", "", "a b", "a.b", "a-b", "ü", "日本", "😀", "#", ": ", "{", "~",
    "~a", "\n", "\x1b", "\x7f", "\x85", "\u2028", "\U000e0001", "<<x",
]  # fmt: skip


def show(look: Look, *words: str) -> Any:
    """Returns the values in what ``show`` prints."""
    status, out, err = look("show", *words)
    assert (status, err) == (0, "")
    Path("shchild.yaml").write_text(out, encoding="utf-8")
    return read_tree(Path("shchild.yaml")).data


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_show_reads_back_as_the_same_config(look: Look, path: Path) -> None:
    assert show(look, "-c", str(path)) == ConfigParser(load_tree(path)).plain()


def test_show_resolves_extends_references_and_overrides(look: Look) -> None:
    values = show(look, "-c", "child.yaml", "trainer.epochs=7", "rate=0.5", "~metrics")
    assert values["name"] == "child"
    assert values["arch"] == {"type": "SmallConvNet", "args": {"width": 16}}
    assert values["optimizer"]["args"]["lr"] == values["rate"] == 0.5
    assert (values["trainer"], "extends" in values, "metrics" in values) == (
        {"epochs": 7},
        False,
        False,
    )


@pytest.mark.parametrize(
    "value", [*TEXTS, *VALUES, *({key: 1} for key in KEYS)], ids=lambda value: repr(value)[:40]
)
def test_show_preserves_odd_values(look: Look, value: Any) -> None:
    def as_yaml(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False).replace("Infinity", ".inf")
        return re.sub(r"[^ -~]", lambda match: f"\\U{ord(match[0]):08x}", text)

    Path("odd.yaml").write_text(
        f"section: {{first: {as_yaml(value)}, list: [{as_yaml(value)}]}}", encoding="utf-8"
    )
    before = read_tree(Path("odd.yaml")).data
    assert repr(before["section"]) == repr({"first": value, "list": [value]})
    assert repr(show(look, "-c", "odd.yaml")) == repr(before)


def test_show_does_not_import_torch(look: Look, tmp_path: Path) -> None:
    script = f"""
import runpy, sys
sys.argv = ["config", "show", "-c", {str(tmp_path / "child.yaml")!r}]
runpy.run_module("config", run_name="__main__")
print("torch" in sys.modules)
"""
    assert run("-c", script).stdout.endswith("False\n")
