"""Room READMEs are correct: the files that they show work, and their commands run in order."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT, copy_project, run

LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "*/README.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
READMES = [name for name in LISTED if not name.startswith(("tests/", "data/"))]


@pytest.mark.parametrize("name", READMES)
def test_the_commands_run_in_their_order(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.strip()]
    project = copy_project(tmp_path / "project")
    files = re.findall(r"Write `([\w/]+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    for file, content in files:
        (project / file).write_text(content, encoding="utf-8")
    for command in commands:
        program, *words = shlex.split(command, comments=True)
        assert program == "python", f"{command}: is not one that this test can run"
        done = run(*words, cwd=project)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", READMES)
def test_the_files_that_it_names_exist(name: str) -> None:
    """A file is ``name.py`` beside the README, or a path from the top with a slash in it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = [found for row in rows for found in re.findall(r"`([\w/]+\.py)`", row.split("|")[1])]
    folder = (ROOT / name).parent
    assert [file for file in named if not (folder / file).is_file()] == []
