"""Run folders in which a good checkpoint lies among hostile files, links and devices."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.hostile_names import BIDI, CLEAR, TITLE, fill_slots, make_config
from tests.fuzz.hostile_pickles import SHELL, forge
from tests.fuzz.hostile_runs import NAME, Case, replace, write

NESTED = b"[" * 100_000
CONFIGS: dict[str, Any] = {
    "a name that leads out": make_config(name="../../outside"),
    "/etc/passwd": make_config(extends="/etc/passwd"),
    "an endless device": make_config(extends="/dev/zero"),
    "a shell": fill_slots("os.system"),
    "colours": make_config(arch={"type": CLEAR}),
    "a list": [1],
}
CONTENTS = {
    "nested deeply": NESTED,
    "no text": b"\xff\xfe\0",
    "a number": b"5",
    "huge": b"1" * 10**6,
}
RECORDS = ("provenance.json", "log/metrics.jsonl")
FILES = (*RECORDS, "log/info.log", "log/.lock", "checkpoint-epoch9.pt", "model_best.pt")
LINKS = (("log", "../outside"), ("log", "../outside/new"), ("more", "../outside"), ("x", "x"))


def configs() -> Iterator[Case]:
    for what, config in CONFIGS.items():
        make = write("config.json", json.dumps(config).encode())
        yield Case(f"folder: config.json with {what}", make)
    yield Case("folder: config.json nested deeply", write("config.json", NESTED))
    yield Case("folder: config.json is a FIFO", replace("config.json", os.mkfifo))


def record_files() -> Iterator[Case]:
    for name in RECORDS:
        for what, content in CONTENTS.items():
            yield Case(f"folder: {name} is {what}", write(name, content), may_pass=True)


def make_link(target: str) -> Callable[[Path], None]:
    """Returns a function that makes a link at a path."""
    return lambda path: path.symlink_to(target)


def links() -> Iterator[Case]:
    for name in FILES:
        victim = "../" * (name.count("/") + 2) + "outside/victim"
        for what, make_file in {
            "a FIFO": os.mkfifo,
            "a folder": os.mkdir,
            "a link": make_link(victim),
            "a ring": make_link(name.rpartition("/")[2]),
        }.items():
            make = replace(name, make_file)
            yield Case(f"folder: {name} is {what}", make, "run", may_pass=True)
    for name, target in LINKS:
        make = replace(name, make_link(target))
        yield Case(f"folder: {name} is a link to {target}", make, "run", may_pass=True)


def do_nothing(_: Path) -> None:
    pass


def named_checkpoints() -> Iterator[Case]:
    for name in (f"{CLEAR}.pt", f"{TITLE}.pt", f"{BIDI}tp", "a\nb.pt"):
        resume = f"run/{name}"
        yield Case(f"folder: a checkpoint named {name!r}", forge(SHELL, name), resume)
        yield Case(f"folder: named {name!r}, which is not there", do_nothing, resume)


def special_folders() -> Iterator[Case]:
    yield Case("folder: a FIFO", replace(NAME, os.mkfifo))
    yield Case("folder: a folder named as a checkpoint", replace("x.pt", os.mkdir), "run/x.pt")
    yield Case("folder: a device", replace(NAME, make_link("/dev/zero")))
    yield Case("folder: nothing", shutil.rmtree, "run")
    yield Case("folder: 300 characters", do_nothing, "x" * 300)
    yield Case("folder: the system's", do_nothing, "/etc")
    yield Case("folder: a number past all others", use_large_number, "run", may_pass=True)


def use_large_number(run: Path) -> None:
    (run / NAME).rename(run / f"checkpoint-epoch{'9' * 200}.pt")
