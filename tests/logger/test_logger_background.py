"""The thread that works for the trackers."""

from __future__ import annotations

from pathlib import Path

from tests.forked import run_forked

# A project of pytorch-template never closes its writer.
UNCLOSED = """
import logging, pathlib, time
from logger.background import Background

def write(number):
    time.sleep(0.01)
    with pathlib.Path("lines").open("a") as file:
        file.write(f"{number}\\n")

background = Background("Slow", logging.getLogger(), patience_seconds=60)
for number in range(50):
    background.submit("write", lambda number=number: write(number))
"""

HANGING = """
import logging, threading
from logger.background import Background

background = Background("Stuck", logging.getLogger(), patience_seconds=0.2)
background.submit("wait", threading.Event().wait)
"""


def run_program(text: str, folder: Path) -> tuple[int, str]:
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    done = run_forked("-c", path + text, cwd=folder)
    return done.returncode, done.stderr


def test_calls_that_wait_at_the_end_of_the_program_are_still_done(tmp_path: Path) -> None:
    assert run_program(UNCLOSED, tmp_path) == (0, "")
    assert (tmp_path / "lines").read_text().split() == [str(number) for number in range(50)]


def test_a_call_that_hangs_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    warning = "Stuck is off from here on: flush failed (nothing moved for 0.2 s)\n"
    assert run_program(HANGING, tmp_path) == (0, warning)
