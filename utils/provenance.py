"""Where a run came from: command, code, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DIFF = 100_000  # letters of uncommitted changes that are kept
PACKAGES = ("torch", "torchvision", "numpy", "torchmetrics", "scikit-learn")


def timestamp() -> str:
    """The local time with its offset, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def run_git(*args: str) -> str | None:
    """What git says of this project; None where it fails."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=ROOT, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_names() -> list[str]:
    import torch

    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if accelerator is None:
        return []
    name = getattr(getattr(torch, accelerator.type), "get_device_name", None)
    return [
        name(index) if name else accelerator.type
        for index in range(torch.accelerator.device_count())
    ]


def collect_provenance() -> dict[str, Any]:
    """Facts about this process, as plain values. Never raises: what is unknown is None."""
    import torch

    status = run_git("status", "--porcelain")
    return {
        "command": [sys.executable, *sys.argv],
        "start": timestamp(),
        "git_commit": run_git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "git_diff": (run_git("diff", "HEAD") or "")[:DIFF] if status else None,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerators": _device_names(),
        },
        "pid": os.getpid(),
    }
