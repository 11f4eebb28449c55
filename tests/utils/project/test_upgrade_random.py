"""Random edits of a project and of the framework: no line that the user added is lost.

``TORTURE=all`` (``make torture``) takes 20 edits × 3 upgrades × more seeds.
"""

from __future__ import annotations

import os
import random
from itertools import count
from pathlib import Path

import pytest
from invented import Files, commit_all, make_project, read_files, upgrade_project

from utils.project.git import Git

SEEDS = range(40) if os.environ.get("TORTURE") == "all" else range(2)
UPGRADES = 3
EDITS = 20


class Author:
    """Edits files at random. Each line that it adds is a new one, with its name."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name, self._rng, self._numbers = name, rng, count()
        self.lines: set[bytes] = set()

    def make_line(self) -> bytes:
        line = f"{self._name} {next(self._numbers)}".encode()
        self.lines.add(line)
        return line

    def edit(self, files: Files) -> None:
        """Adds, changes, deletes or moves something."""
        path = self._rng.choice(sorted(files))
        action = self._rng.choices(("lines", "new", "remove", "move", "ends"), (16, 2, 1, 1, 1))[0]
        if action == "lines":
            self._edit_lines(files, path)
        elif action == "new":  # both may add a file of the same name
            name = f"folder{self._rng.randrange(2)}/{self._rng.randrange(4)}.py"
            if name not in files:
                files[name] = self.make_line() + b"\n"
        elif action == "remove" and len(files) > 3:
            self._forget(files.pop(path))
        elif action == "move":
            files.setdefault(f"{path}.{next(self._numbers)}", files.pop(path))
        elif action == "ends":
            files[path] = files[path].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def _edit_lines(self, files: Files, path: str) -> None:
        lines = files[path].splitlines(keepends=True)
        start = self._rng.randrange(len(lines) + 1)
        end = min(len(lines), start + self._rng.randrange(3))
        self._forget(b"".join(lines[start:end]))
        end_of_line = b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"
        if start and not lines[start - 1].endswith(b"\n"):
            lines[start - 1] += end_of_line
        lines[start:end] = [self.make_line() + end_of_line]
        files[path] = b"".join(lines)

    def _forget(self, content: bytes) -> None:
        """A line that its author deletes need not be kept."""
        self.lines -= {line.rstrip(b"\r") for line in content.split(b"\n")}


def find_lost(author: Author, folder: Path) -> set[bytes]:
    lines = b"\n".join(read_files(folder).values()).split(b"\n")
    present = {line.rstrip(b"\r") for line in lines}
    return author.lines - present


def write_project(git: Git, files: Files) -> None:
    """Makes the files of the project these; the record stays."""
    for path in read_files(git.folder):
        if path not in files and path != ".plainloop.json":
            (git.folder / path).unlink()
    for path, content in files.items():
        (git.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (git.folder / path).write_bytes(content)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_line_of_the_user_is_lost(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    framework_author, user = Author("framework", rng), Author("user", rng)
    framework = {
        f"folder{number % 2}/file{number}.py": b"".join(
            framework_author.make_line() + b"\n" for _ in range(30)
        )
        for number in range(5)
    }
    git = make_project(tmp_path / "project", framework)
    for number in range(UPGRADES):
        files = read_files(git.folder)
        del files[".plainloop.json"]
        for _ in range(EDITS):
            user.edit(files)
            framework_author.edit(framework)
        write_project(git, files)
        commit_all(git.folder)
        assert find_lost(user, git.folder) == set()
        upgrade_project(git, tmp_path / f"new{number}", framework, f"0.{number + 2}.0")
        assert find_lost(user, git.folder) == set()
        commit_all(git.folder)
        assert find_lost(user, git.folder) == set()
