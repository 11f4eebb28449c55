"""A run that is stopped or killed ends with the bits of one without a stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.accelerator.device import DEVICE, ON_CPU, device_config
from tests.accelerator.test_accelerator_waits import pictures
from tests.base.checkpoint.resumed_runs import check_resuming, check_same_end
from tests.helpers import ROOT, differences, load, make_trainer, small_config
from utils.checkpoints import list_checkpoints

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options, and other sections
    "dropout": ({}, {}),
    "everything": (
        {
            "accumulation_steps": 2,
            "grad_clip_norm": 0.5,
            "ema_decay": 0.9,
            "precision": "bf16",
            "warmup_steps": 3,
            "channels_last": True,
            "async_save": True,
        },
        {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}},
    ),
    "augmentation": ({}, pictures("FlipEach", "CropEach", "CutoutEach", size=2)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resume_in_an_epoch_gives_the_same_bits(tmp_path: Path, variant: str) -> None:
    options, sections = VARIANTS[variant]
    config = device_config(tmp_path, save_steps=3, **options) | sections
    full = check_resuming(
        lambda run_id, resume: make_trainer(config, run_id or "", resume),
        "checkpoint-epoch*-step3.pt",
    )
    assert full.device.type == DEVICE.type


def test_two_runs_have_the_same_bits(tmp_path: Path) -> None:
    """Also with and without processes that load data."""
    states = []
    for run_id, num_workers in (("first", 0), ("second", 0), ("workers", 2)):
        config = device_config(tmp_path)
        config["data_loader"]["args"]["num_workers"] = num_workers
        trainer = make_trainer(config, run_id)
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
        del states[-1]["config"]
    assert differences(states[0], states[1]) == []
    assert differences(states[0], states[2]) == []


def test_random_numbers_of_the_device_are_in_checkpoints(tmp_path: Path) -> None:
    trainer = make_trainer(device_config(tmp_path))
    trainer.train()
    paths = list_checkpoints(trainer.checkpoint_dir)
    first, second = [load(path)["random"]["accelerators"] for path in paths]
    if ON_CPU:  # of a run on the CPU: those of no accelerator
        assert (first, second) == (None, None)
    else:
        assert differences(first, second), "unused by dropout"


def test_a_killed_and_resumed_process_gives_the_same_bits(tmp_path: Path) -> None:
    """``kill -9`` of a process that trains. Nobody cleans up after it."""
    config = device_config(tmp_path, epochs=3, save_steps=4, async_save=True)
    config["data_loader"]["args"]["num_workers"] = 2
    (tmp_path / "c.json").write_text(json.dumps(config))
    words = [sys.executable, "-m", "tests.accelerator.killed", tmp_path / "c.json", "killed", "15"]
    done = subprocess.run(
        list(map(str, words)), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    full = make_trainer(config, "full")
    full.train()
    folder = full.checkpoint_dir.with_name("killed")
    newest = list_checkpoints(folder)[0]
    assert newest.name.startswith("checkpoint-epoch2-step")
    make_trainer(config, resume=newest).train()
    check_same_end(folder, full.checkpoint_dir)


def test_the_device_computes_what_the_cpu_computes(tmp_path: Path) -> None:
    """Up to rounding: the same seeds give the same start, order and augmentation."""
    lines = []
    for run_id, make_config in (("device", device_config), ("cpu", small_config)):
        config = make_config(tmp_path)
        config["arch"]["args"]["dropout"] = 0.0  # the devices draw different random numbers
        config["optimizer"] = {"type": "SGD", "args": {"lr": 0.05}}
        trainer = make_trainer(config, run_id)
        trainer.train()
        lines.append(trainer.last_log)
    assert lines[0]["val_loss"] == pytest.approx(lines[1]["val_loss"], rel=0.02)
    assert lines[0]["val_accuracy"] == pytest.approx(lines[1]["val_accuracy"], abs=0.03)
