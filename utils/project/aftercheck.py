"""Tries a project after its upgrade: the schema, every config, and a resume after a kill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from utils.errors import printable, shorten
from utils.tables import format_duration

CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
VERIFY = ("-m", "utils.verify_resume", "--kills", "1", "--epochs", "2")


def find_python(project: Path) -> str:
    """Returns the Python of a project: that of its ``.venv``, or else this one."""
    path = project / ".venv/bin/python"
    return str(path) if path.exists() else sys.executable


def list_configs(project: Path) -> list[str]:
    """Returns the paths of the configs in ``config/`` and, as in pytorch-template, beside it."""
    paths = [*sorted(project.glob("config*.json")), *sorted((project / "config").glob("*"))]
    return [
        path.relative_to(project).as_posix()
        for path in paths
        if path.suffix in CONFIG_SUFFIXES and path.name != "schema.json"
    ]


def try_project(project: Path, config: str) -> list[str]:
    """Rewrites the schema, checks each config, and verifies a resume; prints each result.

    Args:
        project: its folder.
        config: whose resume is verified; empty for the first one.

    Returns:
        A line for each command that failed.
    """
    failures: list[str] = []
    has_schema = (project / "config/schema.json").is_file()
    if has_schema and _try(project, failures, "-m", "config", "schema"):
        # Only if it is in git already; it is part of the upgrade then.
        command = ["git", "add", "-u", "--", "config/schema.json"]
        subprocess.run(command, cwd=project, capture_output=True, check=False)
    configs = list_configs(project)
    if not (project / "train.py").is_file():
        return failures
    if (project / "base/tools/check.py").is_file():
        for name in configs:
            _try(project, failures, "train.py", "-c", name, "--check")
    if not failures and configs:
        _try(project, failures, *VERIFY, "-c", config if config in configs else configs[0])
    return failures


def _try(project: Path, failures: list[str], *words: str) -> bool:
    """Runs a Python program of the project. A failure goes into ``failures``."""
    start = time.monotonic()
    name = "python " + " ".join(words)
    print(f"  {name}: ", end="", flush=True)
    command = [find_python(project), *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        print(f"passes, {format_duration(time.monotonic() - start)}", flush=True)
        return True
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no output"]
    is_traceback = any(line.startswith("Traceback") for line in lines)
    reason = shorten(printable(lines[-1] if is_traceback else lines[0]), 200)
    failures.append(f"{name}: {reason}")
    print(f"FAILS: {reason}", flush=True)
    return False
