"""Small invented projects, and their upgrades without the framework around them."""

from __future__ import annotations

from pathlib import Path

from utils.project.apply import Upgrade, check_tree
from utils.project.bases import BaseReader
from utils.project.git import Git
from utils.project.plan import Change, NewFile, Planner
from utils.project.record import Record, get_blob_id

Files = dict[str, bytes]
LABELS = ("yours", "Plainloop old", "Plainloop new")


def write_files(folder: Path, files: Files) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def read_files(folder: Path) -> Files:
    """All files of a folder, without git's and Python's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".git", "__pycache__"} & {*path.relative_to(folder).parts}
    }


def make_record(version: str, files: Files) -> Record:
    ids = {path: get_blob_id(content) for path, content in files.items()}
    return Record(version, source="somewhere", files=ids)


def commit_all(folder: Path, message: str = "work") -> None:
    git = Git(folder)
    git.run("add", "-A")
    git.run("commit", "-q", "--allow-empty", "-m", message)


def make_project(folder: Path, files: Files, version: str = "0.1.0") -> Git:
    """A project as ``utils.new`` makes it: one commit with the framework's files and the record."""
    folder.mkdir(parents=True)
    git = Git(folder)
    if not git.read("rev-parse", "--show-toplevel"):
        git.run("init", "-q")
    git.run("config", "user.name", "Ada")
    git.run("config", "user.email", "ada@example.invalid")
    write_files(folder, files)
    make_record(version, files).write(folder)
    commit_all(folder, "first")
    return git


def plan_upgrade(git: Git, new: Files) -> list[Change]:
    reader = BaseReader([git], iter(()))
    planner = Planner(git.folder, git.list_files(), reader.read, LABELS)
    files = {path: NewFile(content) for path, content in new.items()}
    return planner.plan(Record.read(git.folder).files, files)


def upgrade_project(git: Git, scratch: Path, new: Files, version: str = "0.2.0") -> list[Change]:
    """Upgrades a project to invented files. ``scratch`` is a new folder."""
    check_tree(git)
    changes = plan_upgrade(git, new)
    write_files(scratch, new)
    Upgrade(git, git.list_files()).apply(changes, make_record(version, new), scratch, "Upgrade")
    return changes
