"""Standard output that fails, lacks letters or is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

PROGRAM = """
from utils.console import keep_console
from utils.main import run_main

def main():
    keep_console()
    for number in range(3000):
        print("Größe → 3", flush=True)
    open("done", "w").close()

run_main(main)
"""


def run_program(folder: Path, redirection: str, **environment: str) -> tuple[int, bytes, bytes]:
    """Runs the program in a shell. Returns its status and what it prints."""
    command = f"\"{sys.executable}\" -c '{PROGRAM}' {redirection}"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=variables,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("encoding", "line"), [("ascii", b"Gr??e ? 3"), ("latin-1", "Größe ? 3".encode("latin-1"))]
)
def test_a_letter_that_the_console_lacks_is_a_question_mark(
    encoding: str, line: bytes, tmp_path: Path
) -> None:
    """fastprogress #21, autokeras #195."""
    status, out, err = run_program(tmp_path, "| head -n 2", PYTHONIOENCODING=encoding)
    assert (status, out, err) == (0, line + b"\n" + line + b"\n", b"")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "redirection", ["> /dev/full", "> /dev/full 2>&1", ">&-", ">&- 2>&- <&-", "| head -n 1"]
)
def test_output_that_cannot_be_written_does_not_end_the_program(
    redirection: str, tmp_path: Path
) -> None:
    status, _, err = run_program(tmp_path, redirection)
    assert (status, err) == (0, b"")
    assert (tmp_path / "done").exists()


def test_a_full_pipe_that_does_not_block_loses_lines_and_not_the_program(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").exists()
    assert os.read(read, 12) == "Größe → ".encode()
    os.close(read)
    os.close(write)


def test_unbuffered_output_stays_unbuffered() -> None:
    """Under PYTHONUNBUFFERED, a bar on standard error and its lines keep their order."""
    lines = [
        "import os; from utils.console import keep_console; keep_console()",
        "print('a', end=''); os.write(1, b'b'); print('c')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"abc"]
