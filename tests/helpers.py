"""Shared by the tests: small configs, running the programs, comparing checkpoints."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets  # noqa: F401  (its first import may draw random numbers, by `rich`)
import torch

import train
from base.schema import SCHEMA
from config import ConfigParser
from utils import verify_resume

ROOT = Path(__file__).parent.parent


def small_config(tmp_path: Path, **trainer: Any) -> dict[str, Any]:
    """Returns a quick experiment on the digits, with its runs in ``tmp_path``."""
    return {
        "name": "small",
        "n_gpu": 0,
        "arch": {"type": "SmallConvNet", "args": {"width": 4}},
        "data_loader": {
            "type": "DigitsDataLoader",
            "args": {"batch_size": 128, "validation_split": 0.2},
        },
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "trainer": {"epochs": 2, "save_dir": str(tmp_path), "tensorboard": False} | trainer,
    }


def make_trainer(config: dict[str, Any], run_id: str = "run", resume: Path | None = None) -> Any:
    """Makes what train.py makes, without a command line."""
    parser = ConfigParser(config, resume=resume, run_id=None if resume else run_id)
    parser.check(SCHEMA)
    with parser.locating_errors():
        return train.make_trainer(parser, logging.getLogger("train"))


def parsed(*words: str | Path) -> ConfigParser:
    """Returns the config that train.py reads from this command line."""
    args = argparse.ArgumentParser()
    for option in ("--config", "--resume", "--device"):
        args.add_argument(option)
    args.set_defaults(check=False, lr_find=False, find_batch_size=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *map(str, words)])
        return ConfigParser.from_args(args)


def run(
    *words: str | Path, cwd: Path = ROOT, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs ``python WORDS`` as a user does."""
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint as anybody may, without this framework."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def differences(a: Any, b: Any) -> list[str]:
    """Returns the paths of the values that differ between two states, in even one bit."""
    return list(verify_resume.find_differences(a, b))


def copy_project(target: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Makes a checkout of the project as it is now, without what git ignores.

    Args:
        target: an empty folder, or one that is made.
        leave_out: names at the top level that are not copied.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name.split("/")[0] not in leave_out:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target
