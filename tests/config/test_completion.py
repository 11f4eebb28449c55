"""Completion of the command line in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.completion import Completer
from config.read.merge import load_configs
from config.read.tree import Tree
from tests.helpers import ROOT

SCHEMA: dict[str, Any] = {
    "properties": {
        "seed": {"$ref": "#/$defs/integer"},
        "loss": {"anyOf": [{"$ref": "#/$defs/loss names"}, {"type": "array", "items": {}}]},
        "optimizer": {"$ref": "#/$defs/optimizer"},
        "$schema": True,
    },
    "$defs": {
        "integer": {"type": ["integer", "string"]},
        "loss names": {"anyOf": [{"const": "l1_loss"}, {"const": "mse_loss"}, {"type": "string"}]},
        "optimizer": {
            "properties": {"type": {"enum": ["Adam", "SGD"]}, "args": {"type": ["object", "null"]}},
            "allOf": [
                {
                    "if": {"properties": {"type": {"enum": ["Adam", "torch.optim.Adam"]}}},
                    "then": {"properties": {"args": {"$ref": "#/$defs/Adam"}}},
                }
            ],
        },
        "Adam": {
            "properties": {
                "lr": {"type": "number", "default": 1e-3},
                "amsgrad": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": False},
            }
        },
    },
}


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("", ["seed=", "loss=", "optimizer.", "mine="]),
        ("s", ["seed="]),
        ("opt", ["optimizer.type=", "optimizer.args."]),
        ("optimizer.a", ["optimizer.args.lr=", "optimizer.args.amsgrad="]),
        ("optimizer.args.lr=", ["optimizer.args.lr=0.001", "optimizer.args.lr=0.5"]),
        (
            "optimizer.args.amsgrad=",
            [f"optimizer.args.amsgrad={value}" for value in ("false", "true", "null")],
        ),
        ("optimizer.type=", ["optimizer.type=Adam", "optimizer.type=SGD"]),
        ("loss=", ["loss=l1_loss", "loss=mse_loss"]),
        ("~o", ["~optimizer.", "~optimizer"]),
        ("~optimizer.args.", ["~optimizer.args.lr"]),
        ("seed.x.", []),
        ("unknown=", []),
    ],
)
def test_a_word_is_completed_by_the_schema_and_the_config(prefix: str, words: list[str]) -> None:
    data = {"optimizer": {"type": "Adam", "args": {"lr": 0.5}}, "mine": 3, "loss": "l1_loss"}
    assert Completer(Tree(data), SCHEMA).complete_override(prefix) == words


def test_the_arguments_are_those_of_the_type_in_the_config() -> None:
    data = {"optimizer": {"type": "SGD", "args": {}}}
    assert Completer(Tree(data), SCHEMA).complete_override("optimizer.args.") == []


def test_the_schema_of_the_project_knows_its_options() -> None:
    completer = Completer(load_configs(["config.json"]))
    assert "trainer.limit_batches=" in completer.complete_override("trainer.")
    assert "arch.args.width=" in completer.complete_override("arch.args.")
    assert "trainer.debug.profile.wait=" in completer.complete_override("trainer.debug.pro")
    names = completer.complete_override("optimizer.type=")
    assert {"optimizer.type=Adam", "optimizer.type=SGD"} <= set(names)
    assert completer.complete_override("trainer.nan", is_key=True) == ["trainer.nan_policy"]
    samplers = completer.complete_override("search.sampler=")
    assert {"search.sampler=tpe", "search.sampler=grid", "search.sampler=GPSampler"} <= set(
        samplers
    )


def test_the_components_in_options_of_a_section_are_completed() -> None:
    data = {"search": {"pruner": {"type": "MedianPruner"}}}
    completer = Completer(Tree(data))
    words = completer.complete_override("search.pruner.args.n_w")
    assert words == ["search.pruner.args.n_warmup_steps="]
    assert "search.pruner.type=WilcoxonPruner" in completer.complete_override("search.pruner.type=")


# -- by argcomplete --------------------------------------------------------------------------------


def press_tab(line: str, folder: Path) -> list[str]:
    """Returns what a shell gets for the command line ``line``, which begins with ``python``."""
    words = line.split()
    command = words[1:3] if words[1] == "-m" else words[1:2]
    output = folder / "completions"
    environment = {
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE": str(len(command) + 1),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:",  # bash's, which cut a word at "="
        "_ARGCOMPLETE_STDOUT_FILENAME": str(output),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert " torch\n" not in done.stderr, "a key press must not wait for torch"
    return output.read_text().splitlines()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python train.py -c config.json trainer.e", ["epochs", "early_stop", "ema_decay"]),
        ("python train.py -c conf", ["config.json", "config/"]),
        ("python train.py seed=1 -c config.json trainer.nan_policy=r", ["raise"]),
        ("python train.py -c config.json optimizer.type=SGD optimizer.args.mom", ["momentum"]),
        ("python train.py -c config.json -c breast_cancer_mlp.yaml arch.args.hi", ["hidden"]),
        ("python train.py --lr-", ["--lr-find"]),
        ("python test.py -d c", ["cpu"]),
        ("python -m config explain trainer.epo", ["trainer.epochs"]),
        ("python -m config show -c config.json trainer.epo", ["trainer.epochs="]),
        ("python -m config diff mnist", ["mnist_lenet.json"]),
    ],
)
def test_a_shell_completes_the_programs(tmp_path: Path, line: str, words: list[str]) -> None:
    pytest.importorskip("argcomplete")
    found = press_tab(line, tmp_path)
    assert len(found) >= len(words)
    assert all(any(word in text for text in found) for word in words)
    prefix = line.rpartition(" ")[2].rpartition("=")[2]
    assert all(text.startswith(prefix) for text in found)


def test_a_key_press_starts_no_training_where_argcomplete_is_missing(tmp_path: Path) -> None:
    code = "import sys; sys.modules['argcomplete'] = None; sys.argv = ['train.py']\n"
    code += "import runpy; runpy.run_path('train.py', run_name='__main__')"
    environment = os.environ | {"_ARGCOMPLETE": "2", "COMP_LINE": "python train.py "}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.mark.parametrize("name", ["train.py", "test.py", "config/__main__.py"])
def test_the_programs_have_the_mark_that_a_shell_looks_for(name: str) -> None:
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / name).read_text(encoding="utf-8")[:1024]
