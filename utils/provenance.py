"""Where a run comes from: its command, code, versions and machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from utils.files import atomic_write
from utils.util import read_json
from utils.version import VERSION

ROOT = Path(__file__).parent.parent
MAX_DIFF_CHARS = 100_000  # of uncommitted changes
CODE_SUFFIXES = {".py", ".json", ".yaml", ".yml"}
PACKAGES = ("torch", "torchvision", "numpy", "torchmetrics", "scikit-learn")


def timestamp() -> str:
    """The local time to the second, with its offset from UTC, in ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def run_git(*args: str) -> str | None:
    """The output of ``git ARGS`` in this project; None if it fails."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=ROOT, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def collect_provenance() -> dict[str, Any]:
    """Facts about this process as plain values. Never raises; an unknown fact is None."""
    import torch

    status = run_git("status", "--porcelain")
    versions = {"plainloop": VERSION, "python": platform.python_version()}
    return {
        "command": [sys.executable, *sys.argv],
        "start": timestamp(),
        "git_commit": run_git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "git_diff": get_uncommitted_changes() if status else None,
        "versions": versions | {name: _get_version(name) for name in PACKAGES},
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerators": _list_accelerators(),
        },
        "pid": os.getpid(),
    }


def get_uncommitted_changes() -> str:
    """The changes since the last commit, as a diff; new files of code and configs at its end."""
    diff = run_git("diff", "HEAD") or ""
    for name in (run_git("ls-files", "--others", "--exclude-standard") or "").splitlines():
        path = ROOT / name
        if path.suffix not in CODE_SUFFIXES or not path.is_file() or len(diff) > MAX_DIFF_CHARS:
            continue
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            diff += f"\n--- /dev/null\n+++ b/{name}\n" + "".join(f"+{line}\n" for line in lines)
    return diff[:MAX_DIFF_CHARS]


def _get_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _list_accelerators() -> list[str]:
    """The names of all accelerators. Where torch does not know a name, its kind stands for it."""
    import torch

    if not torch.accelerator.is_available():
        return []
    device = torch.accelerator.current_accelerator()
    if device is None:
        return []
    get_name = getattr(getattr(torch, device.type), "get_device_name", None)
    indices = range(torch.accelerator.device_count())
    return [device.type if get_name is None else get_name(index) for index in indices]


class ProvenanceFile:
    """Writes ``provenance.json``, with one session for each start of the run.

    A session starts when this object is made.
    """

    def __init__(self) -> None:
        self._path = Path()
        self._start = timestamp()
        self._sessions: list[dict[str, Any]] = []

    @property
    def has_begun(self) -> bool:
        return bool(self._sessions)

    def begin(
        self, folder: Path, changes: dict[str, Any], is_resumed: bool, facts: dict[str, Any]
    ) -> None:
        """Adds a session: command, changes to the config, code, versions, machine and ``facts``."""
        self._path = folder / "provenance.json"
        if is_resumed:  # the file may be missing or damaged
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                self._sessions = list(read_json(self._path)["sessions"])
        state = {"start": self._start, "changes": changes, "end": None, "outcome": "running"}
        self._sessions.append(collect_provenance() | state | facts)
        self._write()

    def end(self, outcome: str) -> None:
        """Records how the session ended, if one has begun."""
        if self.has_begun:
            self._sessions[-1] |= {"end": timestamp(), "outcome": outcome}
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        write_durably(self._path, {"sessions": self._sessions})


def write_durably(path: Path, content: Any) -> None:
    """Writes a JSON file completely or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=4).encode() + b"\n")
