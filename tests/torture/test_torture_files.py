"""A damaged checkpoint: cut off at every length, every bit of it flipped."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint import file as checkpoint
from tests.helpers import differences, make_trainer, small_config
from utils.checkpoints import find_checkpoint
from utils.errors import UserError

ALL = os.environ.get("TORTURE") == "all"
LOGGER = logging.getLogger("torture")
LOGGER.disabled = True  # thousands of warnings


def small_state(epoch: int) -> dict[str, Any]:
    """What a real checkpoint has, in two kilobytes."""
    torch.manual_seed(epoch)
    return {
        "format": 1,
        "epoch": epoch,
        "state_dict": {
            "weight": torch.randn(4, 3),
            "bias": torch.randn(3).half(),
            "count": torch.tensor(7),
        },
        "optimizer": {
            "state": {0: {"step": torch.tensor(2.0), "exp_avg": torch.randn(4, 3)}},
            "param_groups": [],
        },
        "config": {"name": "small", "trainer": {"epochs": 3, "lr": 1e-3, "none": None}},
        "best": [[0.5, 1]],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run with two checkpoints."""
    for epoch in (1, 2):
        checkpoint.save(small_state(epoch), tmp_path / f"checkpoint-epoch{epoch}.pt")
    return tmp_path


def refusal(path: Path) -> str:
    """Why ``path`` is not loaded; empty if it is."""
    try:
        checkpoint.load(path)
    except UserError as error:
        return str(error)
    return ""


def test_cut_off_at_every_length(folder: Path) -> None:
    newest = folder / "checkpoint-epoch2.pt"
    whole, failures = newest.read_bytes(), []
    lengths = range(len(whole)) if ALL else range(0, len(whole), 7)
    for length in lengths:
        newest.write_bytes(whole[:length])
        why = refusal(newest)
        state, path = checkpoint.load_newest(find_checkpoint(folder), LOGGER)
        good = why.startswith(str(newest)) and "\n" not in why
        if not good or path.name != "checkpoint-epoch1.pt" or differences(state, small_state(1)):
            failures.append((length, why, path.name))
    print(
        f"row 5: a checkpoint truncated at every length, {len(lengths)} times, {len(failures)} failures"
    )
    assert failures == []


def test_a_run_with_a_cut_off_newest_checkpoint_goes_on_from_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, epochs=3, save_steps=5)
    full = make_trainer(config, "full")
    full.train()
    newest = full.checkpoint_dir / "checkpoint-epoch3.pt"
    good, lines = checkpoint.load(newest), lines_of(full)
    size = newest.stat().st_size
    for length in [*random.Random(5).sample(range(size), 20 if ALL else 2), 0, size - 1]:
        os.truncate(newest, min(length, newest.stat().st_size))
        caplog.clear()
        resumed = make_trainer(config, resume=find_checkpoint(full.checkpoint_dir))
        assert [
            record.levelname for record in caplog.records if "going on from" in record.message
        ] == ["WARNING"]
        resumed.train()
        assert differences(checkpoint.load(newest), good) == []
        assert lines_of(resumed) == lines


def lines_of(trainer: Any) -> list[dict[str, Any]]:
    """The metric lines, without wall-clock."""
    lines = (trainer.checkpoint_dir / "log" / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in lines
    ]


def test_every_checkpoint_damaged_is_one_line(folder: Path) -> None:
    for path in folder.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"checkpoint-epoch2\.pt: damaged checkpoint") as error:
        checkpoint.load_newest(find_checkpoint(folder), LOGGER)
    assert "\n" not in str(error.value)


def outcome(path: Path, expected: dict[str, Any]) -> str:
    """What loading ``path`` gives: "equal" and "refused" are right, all else is a failure."""
    try:
        return "other bits" if differences(checkpoint.load(path), expected) else "equal"
    except UserError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    except BaseException as error:
        return type(error).__name__


def test_each_byte_flipped_in_turn(folder: Path) -> None:
    path, expected = folder / "checkpoint-epoch2.pt", small_state(2)
    whole = path.read_bytes()
    flips = [0xFF, *(1 << bit for bit in range(8))] if ALL else [0xFF]
    found: dict[str, list[tuple[int, int]]] = {}
    for place, flip in itertools.product(range(len(whole)), flips):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        found.setdefault(outcome(path, expected), []).append((place, flip))
    counts = [len(found.pop(key, [])) for key in ("equal", "refused")]
    failures = sum(map(len, found.values()))
    print(
        f"row 6: each of {len(whole)} bytes flipped, {sum(counts) + failures} times ({counts[0]} loaded to equal bits, "
        f"{counts[1]} were refused), {failures} failures"
    )
    assert {why: places[:3] for why, places in found.items()} == {}


def test_a_flip_in_a_real_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    whole, expected = path.read_bytes(), checkpoint.load(path)
    dice = random.Random(6)
    for _ in range(2000 if ALL else 200):
        place, bit = dice.randrange(len(whole)), dice.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        assert outcome(path, expected) in ("equal", "refused"), (place, bit)


def test_a_record_taken_out_or_stood_in_for_is_refused(folder: Path) -> None:
    newest, whole = folder / "checkpoint-epoch2.pt", folder / "whole.zip"
    shutil.copy(newest, whole)
    with zipfile.ZipFile(whole) as archive:
        names = [name for name in archive.namelist() if "/data" in name]
        for missing in names:
            with zipfile.ZipFile(newest, "w") as other:
                for name in set(archive.namelist()) - {missing}:
                    other.writestr(name, archive.read(name))
            assert refusal(newest) != ""
    assert len(names) > 3
