"""Small searches and repetitions, whose runs take no second each."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.forked import run_forked
from tests.helpers import small_config

LR = "optimizer.args.lr"
SPACE: dict[str, Any] = {LR: {"low": 1e-4, "high": 1e-1, "log": True}}


def write_config(folder: Path, **sections: Any) -> Path:
    """Writes a config whose runs lie in ``folder/saved``; ``sections`` are added or merged."""
    config = small_config(folder / "saved", epochs=2, limit_batches=3, monitor="max val_accuracy")
    for key, value in sections.items():
        old = config.get(key)
        config[key] = old | value if isinstance(old, dict) else value
    path = folder / "sweep.json"
    path.write_text(json.dumps(config))
    return path


def train(*words: str | Path, env: dict[str, str] | None = None) -> Any:
    """Runs train.py, and returns the finished process."""
    return run_forked("train.py", *words, env=env)


def start_search(folder: Path, run_id: str = "lr", **search: Any) -> Any:
    """Runs a search to its end, and returns the finished process."""
    config = write_config(
        folder, search={"space": SPACE, "sampler": "random", "trials": 3} | search
    )
    return train("-c", config, "--run-id", run_id)


def get_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return (done.stdout + done.stderr).splitlines()
