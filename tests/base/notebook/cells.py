"""Runs the code of a notebook's cells in a process of its own."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

from tests.forked import run_forked
from tests.helpers import ROOT

START = """
import sys
sys.path.insert(0, {project!r})
from torch import nn
from train import run

class Net(nn.Module):
    def __init__(self, hidden: int = 16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), nn.Dropout(0.1), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.layers(x)

def expect(word, *args, **kwargs):
    try:
        run(*args, **kwargs)
    except Exception as error:
        assert type(error).__name__ == "RunError", repr(error)
        assert word in str(error), str(error)
        assert error.__context__ is None
    else:
        raise AssertionError("no error")

"""


def run_cells(
    folder: Path, code: str, project: Path = ROOT, is_failing: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs ``code``, below a cell that imports ``run`` and defines ``Net`` and ``expect``.

    Args:
        folder: the working directory.
        code: of the cells.
        project: whose ``run`` is imported.
        is_failing: whether the code ends in an error.
    """
    script = folder / "cells.py"
    script.write_text(START.format(project=str(project)) + textwrap.dedent(code), encoding="utf-8")
    done = run_forked(script, cwd=folder)
    assert bool(done.returncode) == is_failing, done.stdout[-2000:] + done.stderr[-4000:]
    return done
