"""Hostile configs that extend devices, folders, long chains of files, or themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.hostile_names import (
    BIDI,
    CLEAR,
    JSON,
    Case,
    fill_slots,
    list_type_keys,
    make_case,
    make_config,
)

BASES = {
    "/etc/passwd": "/etc/passwd",
    "a folder": ".",
    "the root": "/",
    "an endless device": "/dev/zero",
    "the null device": "/dev/null",
    "standard input": "/dev/stdin",
    "a terminal": "/dev/tty",
    "the memory": "/proc/self/mem",
    "a file without a size": "/proc/self/pagemap",
    "the environment": "/proc/self/environ",
    "a NUL": "base\0.json",
    "nothing": "",
    "100,000 characters": "x" * 100_000,
    "control characters": f"{CLEAR}.json",
    "a right-to-left override": f"{BIDI}nosj.json",
    "an address": "https://example.com/config.json",
    "a Windows path": "C:\\config.json",
    "a share": "\\\\server\\share\\config.json",
    "a number": 5,
    "a mapping": {"file": "base.json"},
    "lists of lists": [["base.json"]],
}


def bases() -> Iterator[Case]:
    for what, path in BASES.items():
        yield make_case(
            f"extends: {what}", make_config(extends=path), may_pass=what == "standard input"
        )
    yield make_case("extends: itself", make_config(extends="main.json"), expected=("circle",))
    yield make_case(
        "extends: itself by another path",
        make_config(extends="../here/./main.json"),
        expected=("circle",),
    )
    yield make_case(
        "extends: 10,000 files",
        make_config(extends=["base.json"] * 10_000) | {"x": 0},
        prepare=write_base,
        may_pass=True,  # each file is read once
    )
    yield make_case(
        "extends: 10,000 files that are not there",
        make_config(extends=[f"{i}.json" for i in range(10_000)]),
    )


def chains() -> Iterator[Case]:
    """Bases that extend others, which extend others."""
    chain = {f"f{i}.json": json.dumps({"extends": f"f{i + 1}.json"}) for i in range(300)}
    yield Case(
        "extends: a chain of 300",
        {"main.json": json.dumps({"extends": "f0.json"}), **chain, "f300.json": JSON},
    )
    tree = {f"f{i}.json": json.dumps({"extends": [f"f{i + 1}.json"] * 2}) for i in range(40)}
    yield Case(
        "extends: two of two of two",
        {"main.json": json.dumps({"extends": "f0.json"}), **tree, "f40.json": JSON},
        may_pass=True,  # each file is read once
    )


def special_files() -> Iterator[Case]:
    yield make_case(
        "extends: a FIFO",
        make_config(extends="fifo"),
        prepare=lambda here: os.mkfifo(here / "fifo"),
    )
    yield make_case(
        "extends: a ring of links",
        make_config(extends="ring"),
        prepare=lambda here: (here / "ring").symlink_to("ring"),
    )
    zero = make_config(extends="zero.json")
    yield make_case(
        "extends: a link to a device",
        zero,
        prepare=lambda here: (here / "zero.json").symlink_to("/dev/zero"),
    )


def invalid_bases() -> Iterator[Case]:
    evil = {
        "main.json": json.dumps({"extends": "a.json"}),
        "a.json": json.dumps(fill_slots("os.system")),
    }
    yield Case("extends: a base that is hostile", evil, expected=("a.json:1:", *list_type_keys()))


def write_base(here: Path) -> None:
    (here / "base.json").write_text(JSON)
