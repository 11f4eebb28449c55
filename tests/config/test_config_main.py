"""``python -m config``: looks at configs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.config.experiment import Look
from tests.forked import run_forked
from tests.helpers import ROOT


def get_rows(text: str) -> dict[str, list[str]]:
    """Returns the rows of a table by their first cell, without the head."""
    lines = [re.split(r" {2,}", line) for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def test_explain_names_file_line_and_taker(look: Look) -> None:
    out = look("explain", "optimizer", "-c", "base.yaml")[1]
    table = get_rows(out)
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
    table = get_rows(look("explain", "arch.args", "-c", "child.yaml")[1])
    taker = "model.model.SmallConvNet"
    assert table["arch.args.width"] == [
        "16",
        "child.yaml:4:10 (was 8 in base.yaml:3:35)",
        f"{taker}(width: int = 32)",
    ]
    assert table["arch.args.dropout"] == [
        "0.25",
        "default",
        f"{taker}(dropout: float = 0.25)",
    ]  # taken away


def test_explain_names_the_override_and_what_it_replaced(look: Look) -> None:
    table = get_rows(look("explain", "arch.args.width", "-c", "child.yaml", "arch.args.width=4")[1])
    was = "(was 8 in base.yaml:3:35) (was 16 in child.yaml:4:10)"
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
def test_explain_accepts_any_key(look: Look, key: str, value: str, where: str) -> None:
    assert get_rows(look("explain", key, "-c", "base.yaml")[1])[key][:2] == [value, where]


def test_explain_accepts_an_item_of_a_plain_list(look: Look) -> None:
    assert "accuracy" in look("explain", "metrics.0", "-c", str(ROOT / "config" / "config.json"))[1]


def test_explain_shows_missing_arguments(look: Look) -> None:
    loader = "data_loader={type: MnistDataLoader, args: {batch_size: 3}}"
    table = get_rows(look("explain", "data_loader", "-c", "base.yaml", loader)[1])
    assert table["data_loader.args.data_dir"][0] == "(missing)"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optimizer.args.lrr", "optimizer.args.lr"),
        ("trainer.monitr", "trainer.monitor"),
        ("nam", "name"),
    ],
)
def test_explain_of_an_unknown_key_names_a_similar_one(look: Look, key: str, meant: str) -> None:
    message = f"{key}: the config has no such key (did you mean '{meant}'?)\n"
    assert look("explain", key, "-c", "base.yaml") == (2, "", message)


@pytest.mark.parametrize("key", ["metrics.7", "metrics.-1", "name.x", "a..b", "zzzzzzzz"])
def test_explain_of_an_unknown_key_is_reported_in_one_line(look: Look, key: str) -> None:
    status, out, err = look("explain", key, "-c", "base.yaml")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"{key}: the config has no such key")


def test_explain_adds_what_the_options_of_a_section_know(look: Look) -> None:
    transfer = "{head: {num_classes: 10}, freeze: all_but_head, thaw: [{epoch: 2, params: '*'}]}"
    words = [f"transfer={transfer}", "trainer.nonsense=["]  # the rest of the config may be wrong
    lines = look("explain", "transfer", "-c", "base.yaml", *words)[1].splitlines()
    assert [line[:16] for line in lines[-2:]] == ["From epoch 1 on:", "From epoch 2 on:"]


def test_an_error_in_what_a_section_knows_is_located(look: Look) -> None:
    words = ["transfer={freeze: nothing_like_it}", "-c", "base.yaml"]
    assert (
        "transfer.freeze: 'nothing_like_it' matches no parameter"
        in look("explain", "transfer", *words)[2]
    )


def test_diff_of_two_configs(look: Look) -> None:
    status, out, _ = look("diff", "base.yaml", "child.yaml")
    assert status == 0
    assert out.split()[:3] == ["key", "base.yaml", "child.yaml"]
    assert get_rows(out) == {
        "name": ["probe", "child"],
        "arch.args.width": ["8", "16"],
        "arch.args.dropout": ["0.5", "-"],
    }
    assert look("diff", "-c", "base.yaml", "child.yaml")[1] == out


def test_diff_of_a_config_with_its_overrides(look: Look) -> None:
    out = look("diff", "base.yaml", "rate=0.1", "~metrics.1", "trainer.monitor=min loss")[1]
    assert out.splitlines()[0].endswith("rate=0.1 ~metrics.1 trainer.monitor=min loss")
    table = get_rows(out)
    assert table["optimizer.args.lr"] == table["rate"] == ["0.001", "0.1"]
    assert table["trainer.monitor"] == ["-", "min loss"]
    assert table.keys() >= {"optimizer.args.lr", "rate", "trainer.monitor"}


def test_diff_of_two_run_folders(look: Look) -> None:
    for name, lr in (("one", 0.1), ("two", 0.2)):
        Path("saved", name).mkdir(parents=True)
        config = {"name": name, "optimizer": {"type": "Adam", "args": {"lr": lr}}}
        Path("saved", name, "config.json").write_text(json.dumps(config))
    out = look("diff", "saved/one", "saved/two")[1]
    assert get_rows(out) == {"name": ["one", "two"], "optimizer.args.lr": ["0.1", "0.2"]}


def test_several_configs_count_as_one(look: Look) -> None:
    Path("wide.yaml").write_text("arch: {args: {width: 32}}\n")
    words = ["-c", "child.yaml", "-c", "wide.yaml"]
    changed = {"arch.args.width": ["16", "32"]}
    assert look("diff", *words)[1].splitlines()[0].endswith("child.yaml  child.yaml + wide.yaml")
    assert get_rows(look("diff", *words)[1]) == changed
    assert get_rows(look("diff", *words, "child.yaml")[1]) == {"arch.args.width": ["32", "16"]}
    assert get_rows(look("diff", *words, "n_gpu=1")[1]) == {"n_gpu": ["0", "1"]}
    was = "(was 8 in base.yaml:3:35) (was 16 in child.yaml:4:10)"
    table = get_rows(look("explain", "arch.args.width", *words)[1])
    assert table["arch.args.width"][:2] == ["32", f"wide.yaml:1:15 {was}"]
    Path("run").mkdir()
    Path("run", "config.json").write_text('{"seed": 5}')
    assert "seed: 5" in look("show", *words, "-c", "run")[1]


@pytest.mark.parametrize(
    "words", [["base.yaml"], ["base.yaml", "base.yaml"], ["-c", "base.yaml", "trainer.epochs=2"]]
)
def test_diff_without_a_difference(look: Look, words: list[str]) -> None:
    assert look("diff", *words) == (0, "They are the same.\n", "")


def test_diff_distinguishes_a_boolean_from_a_number(look: Look) -> None:
    Path("a.yaml").write_text("x: true\ny: 0")
    Path("b.yaml").write_text("x: 1\ny: false")
    assert get_rows(look("diff", "a.yaml", "b.yaml")[1]) == {
        "x": ["true", "1"],
        "y": ["0", "false"],
    }


@pytest.mark.parametrize(
    "words",
    [
        "explain rate -c child.yaml rate=2",
        "explain -c child.yaml rate=2 rate",
        "-c child.yaml explain rate=2 rate",
        "explain rate=2 rate -c child.yaml",
        "explain rate rate=2 --config child.yaml",
    ],
)
def test_words_may_come_in_any_order(look: Look, words: str) -> None:
    assert look(*words.split()) == look("explain", "rate", "rate=2", "-c", "child.yaml")
    assert get_rows(look(*words.split())[1]) == {
        "rate": ["2", "rate=2 (was 0.001 in base.yaml:8:1)"]
    }


@pytest.mark.parametrize(
    "words",
    [
        "",
        "look",
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
def test_a_mistake_is_reported_in_one_line(look: Look, words: list[str], message: str) -> None:
    status, out, err = look(*words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


# -- the terminal ----------------------------------------------------------------------------------

ALL = [
    ["show", "-c", "child.yaml"],
    ["explain", "arch", "-c", "child.yaml"],
    ["diff", "base.yaml", "child.yaml"],
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
    [
        "show -c X",
        "explain arch -c X",
        "explain arch.args.wid -c X",
        "diff base.yaml X",
        "diff X base.yaml",
        "explain arch.args -c X arch.args.width=\x1b[31m",
        "diff X arch.args.\x1b=1",
        "show -c X ~\x1b",
    ],
)
def test_no_control_character_of_a_config_reaches_the_terminal(look: Look, words: str) -> None:
    Path("\x1b[31m.yaml").write_text(HOSTILE, encoding="utf-8")
    _, out, err = look(*words.replace("X", "\x1b[31m.yaml").split())
    assert out or err
    assert [char for char in out + err if not char.isprintable() and char != "\n"] == []


def test_as_a_program(look: Look, tmp_path: Path) -> None:
    for words in (["show"], ["explain", "arch.args.widht"], ["diff", "rate=2"]):
        done = run_forked("-m", "config", *words, "-c", tmp_path / "child.yaml")
        assert (done.returncode, done.stdout, done.stderr) == look(
            *words, "-c", str(tmp_path / "child.yaml")
        )
