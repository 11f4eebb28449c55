"""Rows 5 and 6: a damaged checkpoint: truncated to every length, every bit of it flipped."""

from __future__ import annotations

import itertools
import logging
import os
import random
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint import file as checkpoint
from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import differences, make_trainer, small_config
from tests.torture.harness import ALL, report
from utils.checkpoints import find_checkpoint
from utils.errors import UserError

LOGGER = logging.getLogger("torture")
LOGGER.disabled = True  # thousands of warnings


def small_state(epoch: int) -> dict[str, Any]:
    """The keys of a real checkpoint, in two kilobytes."""
    torch.manual_seed(epoch)
    moments = {0: {"step": torch.tensor(2.0), "exp_avg": torch.randn(4, 3)}}
    return {
        "format": 1,
        "epoch": epoch,
        "state_dict": {
            "weight": torch.randn(4, 3),
            "bias": torch.randn(3).half(),
            "count": torch.tensor(7),
        },
        "optimizer": {"state": moments, "param_groups": []},
        "config": {"name": "small", "trainer": {"epochs": 3, "lr": 1e-3, "none": None}},
        "best": [[0.5, 1]],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run with two checkpoints."""
    for epoch in (1, 2):
        checkpoint.save(small_state(epoch), tmp_path / f"checkpoint-epoch{epoch}.pt")
    return tmp_path


def get_refusal(path: Path) -> str:
    """Why ``path`` is not loaded; empty if it is."""
    try:
        checkpoint.load(path)
    except UserError as error:
        return str(error)
    return ""


def test_a_checkpoint_truncated_to_any_length_is_refused_for_the_one_before(folder: Path) -> None:
    newest = folder / "checkpoint-epoch2.pt"
    content, start, failures = newest.read_bytes(), time.monotonic(), []
    lengths = range(0, len(content), 1 if ALL else 7)
    for length in lengths:
        newest.write_bytes(content[:length])
        reason = get_refusal(newest)
        state, path = checkpoint.load_newest(find_checkpoint(folder), LOGGER)
        is_good = reason.startswith(str(newest)) and "\n" not in reason
        if not is_good or path.name != "checkpoint-epoch1.pt" or differences(state, small_state(1)):
            failures.append((length, reason, path.name))
    report(5, "a checkpoint truncated to every length", len(lengths), failures, start)


def test_a_run_whose_newest_checkpoint_is_truncated_resumes_from_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, epochs=3, save_steps=5)
    full = make_trainer(config, "full")
    full.train()
    newest = full.checkpoint_dir / "checkpoint-epoch3.pt"
    good, lines = checkpoint.load(newest), read_lines(full.checkpoint_dir)
    size = newest.stat().st_size
    for length in [*random.Random(5).sample(range(size), 20 if ALL else 2), 0, size - 1]:
        os.truncate(newest, min(length, newest.stat().st_size))
        caplog.clear()
        resumed = make_trainer(config, resume=find_checkpoint(full.checkpoint_dir))
        levels = [r.levelname for r in caplog.records if "resuming from" in r.getMessage()]
        assert levels == ["WARNING"]
        resumed.train()
        assert differences(checkpoint.load(newest), good) == []
        assert read_lines(resumed.checkpoint_dir) == lines


def test_a_run_without_a_good_checkpoint_is_one_line(folder: Path) -> None:
    for path in folder.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"checkpoint-epoch2\.pt: damaged checkpoint") as error:
        checkpoint.load_newest(find_checkpoint(folder), LOGGER)
    assert "\n" not in str(error.value)


def load_and_compare(path: Path, expected: dict[str, Any]) -> str:
    """What loading ``path`` gives: ``equal`` and ``refused`` are right, all else is a failure."""
    try:
        return "other bits" if differences(checkpoint.load(path), expected) else "equal"
    except UserError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    except BaseException as error:
        return type(error).__name__


def flip(content: bytes, offset: int, mask: int) -> bytes:
    """The content with the bits of ``mask`` flipped in one byte."""
    return content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :]


def test_a_flip_in_any_byte_is_refused_or_changes_nothing(folder: Path) -> None:
    path, expected = folder / "checkpoint-epoch2.pt", small_state(2)
    content, start = path.read_bytes(), time.monotonic()
    masks = [0xFF, *(1 << bit for bit in range(8))] if ALL else [0xFF]
    counts, failures = {"equal": 0, "refused": 0}, []
    for offset, mask in itertools.product(range(len(content)), masks):
        path.write_bytes(flip(content, offset, mask))
        outcome = load_and_compare(path, expected)
        if outcome in counts:
            counts[outcome] += 1
        else:
            failures.append((outcome, offset, mask))
    fault = f"each of {len(content)} bytes flipped ({counts})"
    report(6, fault, len(content) * len(masks), failures, start)


def test_a_flip_in_a_real_checkpoint_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    content, expected = path.read_bytes(), checkpoint.load(path)
    draw = random.Random(6)
    for _ in range(2000 if ALL else 200):
        offset, bit = draw.randrange(len(content)), draw.randrange(8)
        path.write_bytes(flip(content, offset, 1 << bit))
        assert load_and_compare(path, expected) in ("equal", "refused"), (offset, bit)


def test_a_file_without_one_of_its_records_is_refused(folder: Path) -> None:
    newest, complete = folder / "checkpoint-epoch2.pt", folder / "complete.zip"
    shutil.copy(newest, complete)
    with zipfile.ZipFile(complete) as archive:
        names = [name for name in archive.namelist() if "/data" in name]
        for missing in names:
            with zipfile.ZipFile(newest, "w") as other:
                for name in set(archive.namelist()) - {missing}:
                    other.writestr(name, archive.read(name))
            assert get_refusal(newest) != ""
    assert len(names) > 3
