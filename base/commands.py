"""The commands that a log suggests to use next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from utils.provenance import ROOT


def format_summary(
    save_dir: Path, metric: str, best: float | None, length_option: str = "epochs"
) -> str:
    """Returns the last lines of a log: the best value, the folder, and the commands to use next.

    Args:
        save_dir: the folder of the run.
        metric: the name of the monitored number; empty if there is none.
        best: the best value of that number.
        length_option: the option of ``trainer`` that decides when the run ends.
    """
    lines = [f"Run folder: {save_dir}"]
    if metric and best is not None and isfinite(best):
        lines.insert(0, f"Best {metric}: {best:.6g}")
    run, runs = shlex.quote(str(save_dir)), shlex.quote(str(save_dir.parent))
    commands = {
        "test": f"{get_command('test.py')} -r {run}",
        "go on": f"{get_command('train.py')} -r {run} trainer.{length_option}=N",
        "watch": f"{get_python_command()} -m tensorboard.main --logdir {runs}",
    }
    return "\n".join(lines + format_commands(commands))


def format_commands(commands: Mapping[str, str]) -> list[str]:
    """Returns a line for each command, by its purpose."""
    return [f"  to {purpose:6} {command}" for purpose, command in commands.items()]


def get_command(script: str) -> str:
    """Returns the command that runs a script of this project from the current folder."""
    path = ROOT / script
    is_here = path.parent == Path.cwd()
    return f"{get_python_command()} {script if is_here else shlex.quote(str(path))}"


def get_python_command() -> str:
    """Returns the command of this interpreter: ``python``, or its path from the current folder."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
