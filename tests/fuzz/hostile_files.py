"""Hostile configs by their files, the links around them, their characters and their overrides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.hostile_names import (
    BIDI,
    CLEAR,
    JSON,
    REST,
    TITLE,
    Case,
    make_case,
    make_config,
    make_link,
    make_trainer_config,
)

LETTERS = {
    "colours": CLEAR,
    "a title": TITLE,
    "direction": BIDI,
    "a surrogate": "\ud800",
    "C1": "\x9b2J",
}


def files() -> Iterator[Case]:
    for what, content in {
        "empty": b"",
        "binary": bytes(range(256)) * 20,
        "UTF-16": JSON.encode("utf-16"),
        "UTF-16 without a mark": JSON.encode("utf-16-le"),
        "Latin-1": JSON.replace("hostile", "h\xf6stile").encode("latin-1"),
        "overlong UTF-8": JSON.encode().replace(b"hostile", b"\xc0\xaf"),
        "a NUL": JSON.encode().replace(b"hostile", b"host\0ile"),
        "a raw control character": JSON.encode().replace(b"hostile", CLEAR.encode()),
        "a pickle": b"cos\nsystem\n(S'touch executed'\ntR.",
        "a script": b"#!/bin/sh\ntouch executed\n",
        "Python": b"__import__('os').system('touch executed')\n",
    }.items():
        yield make_case(f"file: {what}", content, ".json")
        yield make_case(f"file: {what}, as YAML", content, ".yaml")
    yield make_case(
        "file: a byte-order mark",
        b"\xef\xbb\xbf" + json.dumps(make_config(arch=5)).encode(),
        ".json",
        expected=("arch",),
    )
    yield Case("file: a FIFO", {}, "fifo.json", prepare=lambda here: os.mkfifo(here / "fifo.json"))
    yield Case(
        "file: a folder", {}, "folder.json", prepare=lambda here: (here / "folder.json").mkdir()
    )
    yield Case(
        "file: a ring of links", {}, "ring.json", prepare=make_link("ring.json", "ring.json")
    )
    for path in (
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "/proc/self/pagemap",
        "/etc/passwd",
        "/",
        "\0",
        "x" * 300,
    ):
        yield Case(f"file: {path[:20]!r}", {}, path)
    for path in (f"{CLEAR}.json", f"{TITLE}.json", f"{BIDI}nosj.json", "a\nb.json"):
        yield Case(
            f"file: named {path!r}", {path: json.dumps(make_config(arch=5))}, expected=("arch",)
        )
        yield Case(f"file: not there, named {path!r}", {}, path)


def letters() -> Iterator[Case]:
    """Control and direction characters in every position of a config."""
    for what, text in LETTERS.items():
        yield make_case(f"letters: {what} in a key", make_config(**{f"x{text}": 1}), may_pass=True)
        yield make_case(
            f"letters: {what} in an option",
            make_trainer_config(**{f"epoch{text}": 1}),
            may_pass=True,
        )
        yield make_case(
            f"letters: {what} in an argument",
            make_config(optimizer={"type": "Adam", "args": {f"lr{text}": 1}}),
        )
        yield make_case(
            f"letters: {what} in a value", make_config(seed=f"1{text}"), expected=("seed",)
        )
        yield make_case(f"letters: {what} in a choice", make_trainer_config(precision=text))
        yield make_case(
            f"letters: {what} in the monitor",
            make_config(trainer=make_config()["trainer"] | {"monitor": f"min {text}"}),
        )
        yield make_case(
            f"letters: {what} in save_dir",
            make_trainer_config(save_dir=f"a{text}"),
            expected=("save_dir",),
        )
        metric = {"type": "accuracy", "name": f"a{text}"}
        yield make_case(
            f"letters: {what} in a metric's name", make_config(metrics=[metric]), may_pass=True
        )
        yield make_case(f"letters: {what} in a reference", make_config(mine=f"${{a{text}}}"))
        yield make_case(
            f"letters: {what} in the description", make_config(description=text), may_pass=True
        )
        drop = {"type": "torchvision.ops.StochasticDepth", "args": {"p": 0.1, "mode": text}}
        yield make_case(
            f"letters: {what} in what a model prints", make_config(arch=drop), may_pass=True
        )


def keys() -> Iterator[Case]:
    """Keys that hide others, or that name attributes of the program's objects."""
    yield make_case(
        "keys: one that hides another",
        JSON[:-1] + ', "arch": {"type": "os.system"}}',
        ".json",
        expected=("arch: given twice",),
    )
    hidden = '{arch: {type: os.system}, "\\x61rch": {type: SmallConvNet}, '
    yield make_case("keys: the same, written otherwise", hidden + REST, expected=("given twice",))
    yield make_case(
        "keys: << that hides", f"{{<<: {{arch: {{type: os.system}}}}, <<: {JSON}, x: *nothing}}"
    )
    yield make_case(
        "keys: an attribute of the section",
        make_config(__class__="os", _read=[], tree={}),
        may_pass=True,
    )
    for key in ("__class__", "__dict__", "self", "_read", "config"):
        yield make_case(
            f"keys: {key} as an argument",
            make_config(arch={"type": "SmallConvNet", "args": {key: "x"}}),
        )
        yield make_case(
            f"keys: {key} as an option", make_trainer_config(**{key: "x"}), may_pass=True
        )


def links() -> Iterator[Case]:
    """``outside/victim`` lies beside the folder where the program runs; nothing may reach it."""

    def fifo(here: Path) -> None:
        (here / "runs/hostile/r/log").mkdir(parents=True)
        os.mkfifo(here / "runs/hostile/r/log/info.log")

    run = "runs/hostile/r"
    passing: dict[str, Any] = {"run_id": "r", "may_pass": True}
    for path, up in (("runs/hostile", "../.."), (run, "../../.."), (f"{run}/log", "../../../..")):
        yield make_case(
            f"link: {path} to a folder",
            make_config(),
            prepare=make_link(path, f"{up}/outside"),
            **passing,
        )
        yield make_case(
            f"link: {path} to nothing",
            make_config(),
            prepare=make_link(path, f"{up}/outside/new"),
            **passing,
        )
        yield make_case(
            f"link: {path} to itself",
            make_config(),
            prepare=make_link(path, path.rpartition("/")[2]),
            **passing,
        )
    for path in (
        "log/info.log",
        "log/.lock",
        "log/metrics.jsonl",
        "config.json",
        "provenance.json",
        "model_best.pt",
    ):
        victim = "../" * (path.count("/") + 4) + "outside/victim"
        yield make_case(
            f"link: {path}", make_config(), prepare=make_link(f"{run}/{path}", victim), **passing
        )
    yield make_case(
        "link: a FIFO as the log", make_config(), run_id="r", may_pass=True, prepare=fifo
    )


def save_dirs() -> Iterator[Case]:
    for what, path in {
        "below a file": "main.json/x",
        "a file": "main.json",
        "a NUL": "a\0b",
        "a device": "/dev/null",
    }.items():
        trainer = {"epochs": 1, "save_dir": path, "tensorboard": False}
        yield make_case(
            f"save_dir: {what}", make_config(trainer=trainer), expected=("trainer.save_dir: ",)
        )
    long = {"epochs": 1, "save_dir": "x" * 300, "tensorboard": False}
    yield make_case("save_dir: 300 characters", make_config(trainer=long), may_pass=True)


def overrides() -> Iterator[Case]:
    for word in (
        "arch.type=os.system",
        "loss=torch.hub.load",
        "metrics=[torch.load]",
        "mine=!!python/object/apply:os.system [touch executed]",
        "seed=0x" + "F" * 5000,
        "name=0x" + "F" * 5000,
        "arch.__class__.x=1",
        f"{CLEAR}=1",
        f"seed={CLEAR}",
        f"~{BIDI}",
        "seed=" + "[" * 10_000,
        "a." * 10_000 + "b=1",
        "seed=${trainer}",
        "name=../x",
        "trainer.save_dir=main.json/x",
        "=",
        "\n=\n",
        "metrics.99999999999999999999=1",
        "metrics.²=1",
    ):
        passes = word.startswith(("mine", "\n", CLEAR))
        yield Case(f"override: {word[:40]!r}", {"main.json": JSON}, words=(word,), may_pass=passes)
