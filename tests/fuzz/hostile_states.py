"""Checkpoints that load and lie, and run folders that are no run folders."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.hostile_checkpoints import (
    NAME,
    Case,
    Make,
    altered,
    call,
    forged,
    with_values,
    written,
)
from tests.fuzz.hostile_names import BIDI, CLEAR, TITLE, everywhere, small
from tests.fuzz.hostile_sandbox import PAYLOAD

HUGE = torch.zeros(1).expand(10**12)  # takes four bytes
NESTED = b"[" * 100_000


def states() -> Iterator[Case]:
    weight = next(iter(torch.nn.Linear(2, 2).state_dict()))
    for path, values in {
        "state_dict": [
            [],
            None,
            "text",
            5,
            {},
            {weight: HUGE},
            {CLEAR: HUGE},
            {f"a\nb{TITLE}": 1},
            {1: HUGE, "a": 1},
        ],
        "epoch": ["1", -5, 1e300, True, 10**30, None, [1], 10**5000],
        "step": ["x", None],
        "config": [
            "text",
            None,
            [],
            {},
            {"name": CLEAR},
            {"trainer": 5},
            small(name="../x"),
            everywhere("os.system"),
        ],
        "config/name": [f"{CLEAR}", "../../outside", 5],
        "config/optimizer": [
            5,
            {"type": f"{CLEAR}"},
            {"type": 5},
            {"type": "Adam", "args": {f"{TITLE}{BIDI}": 1}},
        ],
        "config/trainer": [5, {"monitor": CLEAR}, {"monitor": ["min val_loss"]}],
        "config/lr_scheduler": [CLEAR, 5],
        "optimizer": [
            [],
            None,
            {},
            {"param_groups": 5, "state": 5},
            {"param_groups": [5], "state": {}},
        ],
        "optimizer/param_groups": [CLEAR, [{}], [{"params": [0], CLEAR: 1}]],
        "optimizer/state": [
            {},
            {0: {"exp_avg": HUGE, "step": 1}},
            {0: {"step": "x"}},
            {0: 5},
            "text",
        ],
        "monitor_best": ["x", None, [], float("nan")],
        "not_improved_count": ["x", None, -(10**9)],
        "parts": [None, [], "text", {"update": 5}, {"update": {}}, {"lr_scheduler": 5}],
        "parts/update": [
            None,
            {"steps": "x", "scaler": None, "ema": None},
            {"steps": 1, "scaler": {}, "ema": CLEAR},
        ],
        "parts/update/ema": [{}, {"n_averaged": 1}, {f"module.{CLEAR}": 1}, [1]],
        "parts/lr_scheduler": [
            {"step": 1},
            {"optimizer": 5},
            {"last_epoch": "x"},
            {"base_lrs": CLEAR},
        ],
        "loader": [5, "text", {}, {"passes": "x"}, {"seed": "x", "passes": -1}],
        "random": [None, {}, {"python": 5}, {"python": [3, [1], None]}],
        "random/torch": [HUGE, torch.zeros(3), "text"],
        "random/numpy": [5, {"bit_generator": "os.system"}],
        "format": [99, CLEAR],
        CLEAR: [{TITLE: BIDI}],
    }.items():
        for number, value in enumerate(values, start=1):
            what = f"{type(value).__name__} (no. {number})"
            yield Case(f"state: {path!r} is a {what}", with_values(path, value), passes=True)
    yield Case("state: a list", altered(lambda state: [state]))
    yield Case(
        "state: nothing but weights", altered(lambda state: state["state_dict"]), passes=True
    )
    for what, odd in {
        "text": "text",
        "None": None,
        "meta": torch.zeros(1, device="meta"),
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.zeros(3, dtype=torch.complex64),
        "a parameter that is huge": HUGE,
    }.items():
        yield Case(
            f"state: a weight that is {what}",
            altered(lambda state, odd=odd: put_first(state, odd)),
            passes=True,
        )


def put_first(state: dict[str, Any], value: Any) -> None:
    first = next(iter(state["state_dict"]))
    if getattr(value, "device", None) is not None and value.device.type == "meta":
        value = torch.empty_like(state["state_dict"][first], device="meta")
    state["state_dict"][first] = value


def archives() -> Iterator[Case]:
    """Archives whose head tells lies."""
    zeros = bytes(1 << 24)
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 240 + packer.flush()
    record = (b"archive/data/%d", bomb, 8, 240 << 24)
    yield Case("archive: a bomb", written(NAME, headed([record] * 6)))
    yield Case(
        "archive: one record many times",
        written(NAME, headed([(b"archive/data.pkl", b"x", 0, 1)] * 20_000)),
    )
    yield Case(
        "archive: a record's name in colours",
        written(NAME, headed([(b"archive/\x1b[2J\nb", b"x", 0, 1)])),
    )
    yield Case(
        "archive: longer than it is",
        written(NAME, headed([(b"archive/data.pkl", b"x", 0, 1 << 31)])),
    )
    yield Case(
        "archive: packed in an unknown way",
        written(NAME, headed([(b"archive/data.pkl", b"x", 99, 1)])),
    )


def headed(records: list[tuple[bytes, bytes, int, int]]) -> bytes:
    """A zip of (name, content, method, length), with a wrong checksum."""
    body, table = b"", b""
    for number, (name, content, method, length) in enumerate(records):
        name = name.replace(b"%d", b"%d" % number)
        about = struct.pack(
            "<HHHHHIIIHH", 20, 0, method, 0, 0, 1, len(content), length, len(name), 0
        )
        table += (
            b"PK\x01\x02"
            + struct.pack("<H", 20)
            + about
            + bytes(10)
            + struct.pack("<I", len(body))
            + name
        )
        body += b"PK\x03\x04" + about + name + content
    end = struct.pack(
        "<HHHHIIH", 0, 0, len(records) & 0xFFFF, len(records) & 0xFFFF, len(table), len(body), 0
    )
    return body + table + b"PK\x05\x06" + end


def folders() -> Iterator[Case]:
    """A good checkpoint among files that are none."""
    for what, config in {
        "a name that leads out": small(name="../../outside"),
        "/etc/passwd": small(extends="/etc/passwd"),
        "an endless device": small(extends="/dev/zero"),
        "a shell": everywhere("os.system"),
        "colours": small(arch={"type": CLEAR}),
        "a list": [1],
    }.items():
        yield Case(
            f"folder: config.json with {what}", written("config.json", json.dumps(config).encode())
        )
    yield Case("folder: config.json nested deeply", written("config.json", NESTED))
    yield Case("folder: config.json is a FIFO", replaced("config.json", os.mkfifo))
    contents = {
        "nested deeply": NESTED,
        "no text": b"\xff\xfe\0",
        "a number": b"5",
        "huge": b"1" * 10**6,
    }
    written_later = ("provenance.json", "log/metrics.jsonl")
    for name in written_later:
        for what, content in contents.items():
            yield Case(f"folder: {name} is {what}", written(name, content), passes=True)
    for name in (
        *written_later,
        "log/info.log",
        "log/.lock",
        "checkpoint-epoch9.pt",
        "model_best.pt",
    ):
        victim = "../" * (name.count("/") + 2) + "outside/victim"
        for what, make in {
            "a FIFO": os.mkfifo,
            "a folder": os.mkdir,
            "a link": lambda path, to=victim: path.symlink_to(to),
            "a ring": lambda path: path.symlink_to(path.name),
        }.items():
            yield Case(f"folder: {name} is {what}", replaced(name, make), "run", passes=True)
    for name, to in (
        ("log", "../outside"),
        ("log", "../outside/new"),
        ("more", "../outside"),
        ("x", "x"),
    ):
        make = replaced(name, lambda path, to=to: path.symlink_to(to))
        yield Case(f"folder: {name} is a link to {to}", make, "run", passes=True)
    for name in (f"{CLEAR}.pt", f"{TITLE}.pt", f"{BIDI}tp", "a\nb.pt"):
        yield Case(
            f"folder: a checkpoint named {name!r}",
            forged(call("os.system", PAYLOAD), name),
            f"run/{name}",
        )
        yield Case(f"folder: named {name!r}, which is not there", lambda run: None, f"run/{name}")
    yield Case("folder: a FIFO", replaced(NAME, os.mkfifo))
    yield Case("folder: a folder named as a checkpoint", replaced("x.pt", os.mkdir), "run/x.pt")
    yield Case("folder: a device", replaced(NAME, lambda path: path.symlink_to("/dev/zero")))
    yield Case("folder: nothing", lambda run: shutil.rmtree(run), "run")
    yield Case("folder: 300 characters", lambda run: None, "x" * 300)
    yield Case("folder: the system's", lambda run: None, "/etc")
    yield Case("folder: a number past all others", lambda run: big_number(run), "run", passes=True)


def big_number(run: Path) -> None:
    (run / NAME).rename(run / f"checkpoint-epoch{'9' * 200}.pt")


def replaced(name: str, make: Any) -> Make:
    """Puts something else in a file's place."""

    def change(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        make(path)

    return change
