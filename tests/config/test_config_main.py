"""``python -m config``: looks at configs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import ConfigParser
from config.__main__ import main
from config.read.merge import load_tree
from config.read.source import read_tree
from tests.helpers import ROOT, run
from tests.test_shipped_configs import CONFIGS
from utils.main import run_main

Look = Callable[..., tuple[int, str, str]]

BASE = """\
name: probe
n_gpu: 0
arch: {type: SmallConvNet, args: {width: 8, dropout: 0.5}}
data_loader: {type: DigitsDataLoader, args: {batch_size: 128}}
optimizer:
  type: Adam
  args: {lr: "${rate}"}
rate: 1e-3
loss: cross_entropy
metrics: [accuracy, {type: top_k_acc, args: {k: 2}}]
trainer: {epochs: 2}
"""
OWN = """\
extends: base.yaml
name: own
arch:
  args: {width: 16, ~dropout: }
"""


@pytest.fixture
def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Look:
    """Runs ``python -m config WORDS`` in a folder with base.yaml and own.yaml; gives status, output and errors."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE, encoding="utf-8")
    Path("own.yaml").write_text(OWN, encoding="utf-8")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["config", *words])
        status = 0
        try:
            run_main(main)
        except SystemExit as end:
            status = end.code  # type: ignore[assignment]
        return (status, *capsys.readouterr())

    return call


def shown(look: Look, *words: str) -> Any:
    """The values in what ``show`` prints."""
    status, out, err = look("show", *words)
    assert (status, err) == (0, "")
    Path("shown.yaml").write_text(out, encoding="utf-8")
    return read_tree(Path("shown.yaml")).data


def rows(text: str) -> dict[str, list[str]]:
    """A table's rows without its head, as key: the other cells."""
    lines = [re.split(r" {2,}", line) for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines[1:]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_show_reads_back_as_the_same_config(look: Look, path: Path) -> None:
    assert shown(look, "-c", str(path)) == ConfigParser(load_tree(path)).plain()


def test_show_resolves_extends_references_and_overrides(look: Look) -> None:
    values = shown(look, "-c", "own.yaml", "trainer.epochs=7", "rate=0.5", "~metrics")
    assert values["name"] == "own"
    assert values["arch"] == {"type": "SmallConvNet", "args": {"width": 16}}
    assert values["optimizer"]["args"]["lr"] == values["rate"] == 0.5
    assert (values["trainer"], "extends" in values, "metrics" in values) == (
        {"epochs": 7},
        False,
        False,
    )


TEXTS = [
    "on", "no", "true", "null", "~", "1e-3", "012", "0o17", "0x1F", "2020-01-01", "1_000", ".inf", "-.inf", ".nan", ".",
    "", " ", " x ", "a: b", "a:", ":a", "#x", "a #b", "- a", "-", "? a", "*x", "&x", "!x", "%x", "@x", "`x", "|", ">",
    "{a}", "[a]", "a, b", "'", '"', "it's", '"x"', "\\", "a\nb", "a\tb", "\r", "日本 é", "😀", "\x85", "\u2028",
    "\ufeffx", "\U000e0001", "1e999", "\x1b[31m", "\x7f", "\u202e", "<<", "=", "${", "x" * 300,
]  # fmt: skip
VALUES = [
    True, None, 0, -1, 12345678901234567890, 0.1, 1e300, 1e-300, -0.0, float("inf"), -float("inf"), {}, [], [[]], [{}],
    [1, "1", [2, ["a", None]]], [{"a": 1, "b c": [True, {"d": "#"}]}, "x"], [float("inf"), "x"],
    [{"a": -float("inf"), "b": ".inf"}], {"a": {"b": {"c": [], "d": {}}}}, [[{"a": 1}]],
]  # fmt: skip
KEYS = [
    "on", "true", "null", "1", "", "a b", "a.b", "a-b", "ü", "日本", "😀", "#", ": ", "{", "~", "~a", "\n", "\x1b",
    "\x7f", "\x85", "\u2028", "\U000e0001", "<<x",
]  # fmt: skip


@pytest.mark.parametrize(
    "value", [*TEXTS, *VALUES, *({key: 1} for key in KEYS)], ids=lambda value: repr(value)[:40]
)
def test_show_keeps_odd_values(look: Look, value: Any) -> None:
    def as_yaml(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False).replace("Infinity", ".inf")
        return re.sub(r"[^ -~]", lambda match: f"\\U{ord(match[0]):08x}", text)

    Path("odd.yaml").write_text(
        f"section: {{first: {as_yaml(value)}, list: [{as_yaml(value)}]}}", encoding="utf-8"
    )
    before = read_tree(Path("odd.yaml")).data
    assert repr(before["section"]) == repr({"first": value, "list": [value]})
    assert repr(shown(look, "-c", "odd.yaml")) == repr(before)


def test_explain_tells_file_line_and_taker(look: Look) -> None:
    out = look("explain", "optimizer", "-c", "base.yaml")[1]
    table = rows(out)
    assert out.split()[:5] == ["key", "value", "from", "taken", "by"]
    assert table["optimizer.type"] == ["Adam", "base.yaml:6:3"]
    assert table["optimizer.args.lr"][:2] == ["0.001", "base.yaml:7:10"]
    assert table["optimizer.args.lr"][2].startswith("torch.optim.adam.Adam(lr: ")
    assert table["optimizer.args.amsgrad"] == [
        "false",
        "default",
        "torch.optim.adam.Adam(amsgrad: bool = False)",
    ]


def test_explain_names_the_file_that_a_value_replaced(look: Look) -> None:
    table = rows(look("explain", "arch.args", "-c", "own.yaml")[1])
    taker = "model.model.SmallConvNet"
    assert table["arch.args.width"] == [
        "16",
        "own.yaml:4:10 (was 8 in base.yaml:3:35)",
        f"{taker}(width: int = 32)",
    ]
    assert table["arch.args.dropout"] == [
        "0.25",
        "default",
        f"{taker}(dropout: float = 0.25)",
    ]  # taken away


def test_explain_names_the_override_and_what_it_replaced(look: Look) -> None:
    table = rows(look("explain", "arch.args.width", "-c", "own.yaml", "arch.args.width=4")[1])
    was = "(was 8 in base.yaml:3:35) (was 16 in own.yaml:4:10)"
    assert table["arch.args.width"][:2] == ["4", f"arch.args.width=4 {was}"]


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("metrics.0", "accuracy", "base.yaml:10:11"),
        ("metrics.1.type", "top_k_acc", "base.yaml:10:22"),
        ("metrics.1.args.k", "2", "base.yaml:10:46"),
        ("trainer.monitor", "off", "default"),
        ("name", "probe", "base.yaml:1:1"),
        ("rate", "0.001", "base.yaml:8:1"),
    ],
)
def test_explain_takes_any_key(look: Look, key: str, value: str, where: str) -> None:
    assert rows(look("explain", key, "-c", "base.yaml")[1])[key][:2] == [value, where]


def test_explain_takes_an_item_of_a_plain_list(look: Look) -> None:
    assert "accuracy" in look("explain", "metrics.0", "-c", str(ROOT / "config" / "config.json"))[1]


def test_explain_says_what_is_missing(look: Look) -> None:
    loader = "data_loader={type: MnistDataLoader, args: {batch_size: 3}}"
    table = rows(look("explain", "data_loader", "-c", "base.yaml", loader)[1])
    assert table["data_loader.args.data_dir"][0] == "(missing)"


@pytest.mark.parametrize(
    ("key", "near"),
    [("optimizer.args.lrr", "optimizer.args.lr"), ("trainer.monitr", "trainer.monitor"), ("nam", "name"),
     ("metrics.7", ""), ("metrics.-1", ""), ("name.x", ""), ("a..b", ""), ("zzzzzzzz", "")],
)  # fmt: skip
def test_explain_of_an_unknown_key_names_a_near_one(look: Look, key: str, near: str) -> None:
    status, out, err = look("explain", key, "-c", "base.yaml")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(
        f"{key}: the config has no such key" + f" (did you mean '{near}'?)\n" * bool(near)
    )


def test_diff_of_two_configs(look: Look) -> None:
    status, out, _ = look("diff", "base.yaml", "own.yaml")
    assert status == 0
    assert out.split()[:3] == ["key", "base.yaml", "own.yaml"]
    assert rows(out) == {
        "name": ["probe", "own"],
        "arch.args.width": ["8", "16"],
        "arch.args.dropout": ["0.5", "-"],
    }
    assert look("diff", "-c", "base.yaml", "own.yaml")[1] == out


def test_diff_of_a_config_with_its_overrides(look: Look) -> None:
    out = look("diff", "base.yaml", "rate=0.1", "~metrics.1", "trainer.monitor=min loss")[1]
    assert out.splitlines()[0].endswith("rate=0.1 ~metrics.1 trainer.monitor=min loss")
    table = rows(out)
    assert table["optimizer.args.lr"] == table["rate"] == ["0.001", "0.1"]
    assert table["trainer.monitor"] == ["-", "min loss"]
    assert table.keys() >= {"optimizer.args.lr", "rate", "trainer.monitor"}


def test_diff_of_two_run_folders(look: Look) -> None:
    for name, lr in (("one", 0.1), ("two", 0.2)):
        Path("saved", name).mkdir(parents=True)
        config = {"name": name, "optimizer": {"type": "Adam", "args": {"lr": lr}}}
        Path("saved", name, "config.json").write_text(json.dumps(config))
    out = look("diff", "saved/one", "saved/two")[1]
    assert rows(out) == {"name": ["one", "two"], "optimizer.args.lr": ["0.1", "0.2"]}


@pytest.mark.parametrize(
    "words", [["base.yaml"], ["base.yaml", "base.yaml"], ["-c", "base.yaml", "trainer.epochs=2"]]
)
def test_diff_of_the_same(look: Look, words: list[str]) -> None:
    assert look("diff", *words) == (0, "They are the same.\n", "")


def test_diff_tells_a_switch_from_a_number(look: Look) -> None:
    Path("a.yaml").write_text("x: true\ny: 0")
    Path("b.yaml").write_text("x: 1\ny: false")
    assert rows(look("diff", "a.yaml", "b.yaml")[1]) == {"x": ["true", "1"], "y": ["0", "false"]}


@pytest.mark.parametrize(
    "words",
    ["explain rate -c own.yaml rate=2", "explain -c own.yaml rate=2 rate", "-c own.yaml explain rate=2 rate",
     "explain rate=2 rate -c own.yaml", "explain rate rate=2 --config own.yaml"],
)  # fmt: skip
def test_words_stand_in_any_order(look: Look, words: str) -> None:
    assert look(*words.split()) == look("explain", "rate", "rate=2", "-c", "own.yaml")
    assert rows(look(*words.split())[1]) == {"rate": ["2", "rate=2 (was 0.001 in base.yaml:8:1)"]}


@pytest.mark.parametrize(
    "words",
    [
        "",
        "look",
        "explain",
        "explain a b",
        "show a",
        "diff a b c",
        "diff -c a b c",
        "schema a",
        "show -c",
        "show --x",
    ],
)
def test_wrong_usage(look: Look, words: str) -> None:
    status, out, err = look(*words.split())
    assert (status, out) == (2, "")
    assert err.startswith("usage: python -m config")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "-c", "nowhere.yaml"], "nowhere.yaml: no such config"),
        (["show", "-c", "base.yaml", "a..b=1"], "an override is written KEY=VALUE"),
        (["show", "-c", "base.yaml", "~seed"], "~seed: there is no such key to remove"),
        (["diff", "base.yaml", "bsae.yaml"], "bsae.yaml: no such config"),
        (["explain", "x", "-c", "base.yaml", "x=${nowhere}"], "the config has no such key"),
    ],
)
def test_a_mistake_is_told_in_one_line(look: Look, words: list[str], message: str) -> None:
    status, out, err = look(*words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


# -- the terminal -----------------------------------------------------------------------------------------------------

ALL = [
    ["show", "-c", "own.yaml"],
    ["explain", "arch", "-c", "own.yaml"],
    ["diff", "base.yaml", "own.yaml"],
]


@pytest.mark.parametrize("words", ALL, ids=lambda words: words[0])
def test_colour_is_for_terminals(
    look: Look, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    plain = look(*words)[1]
    assert "\x1b" not in plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    coloured = look(*words)[1]
    assert "\x1b[1m" in coloured
    without = re.sub(r"\x1b\[\d*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()


HOSTILE = r"""
name: "x\e[31m"
arch: {type: "Small\e]0;t\aConvNet", args: {"wi\e[31mdth": 8}}
"k\e[2J\x7f\u009b\u202e": {"\a": "v\e[2J\x7f\u009b\u202e"}
"""


@pytest.mark.parametrize(
    "words",
    ["show -c X", "explain arch -c X", "explain arch.args.wid -c X", "diff base.yaml X", "diff X base.yaml",
     "explain arch.args -c X arch.args.width=\x1b[31m", "diff X arch.args.\x1b=1", "show -c X ~\x1b"],
)  # fmt: skip
def test_no_control_character_of_a_config_reaches_the_terminal(look: Look, words: str) -> None:
    Path("\x1b[31m.yaml").write_text(HOSTILE, encoding="utf-8")
    _, out, err = look(*words.replace("X", "\x1b[31m.yaml").split())
    assert out or err
    assert [char for char in out + err if not char.isprintable() and char != "\n"] == []


def test_as_a_program(look: Look, tmp_path: Path) -> None:
    for words in (["show"], ["explain", "arch.args.widht"], ["diff", "rate=2"]):
        done = run("-m", "config", *words, "-c", tmp_path / "own.yaml")
        assert (done.returncode, done.stdout, done.stderr) == look(
            *words, "-c", str(tmp_path / "own.yaml")
        )


def test_show_does_not_wait_for_torch(look: Look, tmp_path: Path) -> None:
    script = f"""
import runpy, sys
sys.argv = ["config", "show", "-c", {str(tmp_path / "own.yaml")!r}]
runpy.run_module("config", run_name="__main__")
print("torch" in sys.modules)
"""
    assert run("-c", script).stdout.endswith("False\n")
