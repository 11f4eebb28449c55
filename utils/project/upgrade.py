"""Upgrades a project to the version of the framework in a folder."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from utils.errors import UserError, printable
from utils.project.aftercheck import try_project
from utils.project.apply import Upgrade
from utils.project.bases import BaseReader
from utils.project.compose import compose
from utils.project.git import Git
from utils.project.plan import Change, Kind, NewFile, Planner
from utils.project.record import Record
from utils.project.rooms import ROOMS
from utils.project.source import Framework, check_out_commit, find_commit
from utils.project.upgrade_report import make_next_steps, make_report, read_changelog

NEEDS_ATTENTION_STATUS = 3
NEEDS_ATTENTION = (Kind.CONFLICT, Kind.BOTH_KEPT, Kind.BLOCKED)


def upgrade(
    project: Path, record: Record, framework: Framework, source: str, args: argparse.Namespace
) -> int:
    """Upgrades a project, or reports what an upgrade would do.

    Args:
        project: its folder.
        record: of the project.
        framework: the new version.
        source: of the framework, for the project's record.
        args: ``check``, ``add_room`` and ``config`` of the command.

    Returns:
        The exit status.

    Raises:
        UserError: the project cannot be upgraded; nothing has changed.
    """
    with tempfile.TemporaryDirectory(prefix="plainloop-new-") as name:
        scratch = Path(name)
        config = args.config or record.config
        rooms = choose_rooms(project, record, args.add_room)
        new_record = compose(framework.folder, scratch / "new", config, rooms)
        new_record.source = source
        git = Git(project)
        changes = plan(git, record, new_record, framework, scratch)
        title = f"Plainloop {record.version} to {new_record.version}"
        if new_record.files == record.files:
            print(f"The project has the newest version, {record.version}, already.")
            return 0
        changelog = read_changelog(framework.folder, record.version, new_record.version)
        print_text(make_report(title, changelog, changes))
        needs_attention = any(change.kind in NEEDS_ATTENTION for change in changes)
        if args.check:
            return NEEDS_ATTENTION_STATUS if needs_attention else 0
        writer = Upgrade(git, git.list_files())
        backup = writer.apply(changes, new_record, scratch / "new", f"Upgrade {title}")
    failures = []
    if not any(change.kind is Kind.CONFLICT for change in changes):
        print("\n## Checks\n", flush=True)
        failures = try_project(project, config)
    print_text("\n" + make_next_steps(changes, failures, backup))
    return NEEDS_ATTENTION_STATUS if needs_attention or failures else 0


def choose_rooms(project: Path, record: Record, added: list[str]) -> list[str]:
    """Returns the rooms of the project after the upgrade.

    A room that the user has deleted, or that the framework has no longer, does not come back.

    Raises:
        UserError: an added room is unknown.
    """
    unknown = [name for name in added if name not in ROOMS]
    if unknown:
        raise UserError(f"--add-room {unknown[0]}: is unknown; choose from {', '.join(ROOMS)}")
    rooms = [
        name
        for name in record.rooms
        if name in ROOMS and any((project / path).exists() for path in ROOMS[name].paths)
    ]
    return rooms + [name for name in added if name not in rooms]


def plan(
    git: Git, record: Record, new_record: Record, framework: Framework, scratch: Path
) -> list[Change]:
    """Returns what happens to each file of the project.

    Args:
        git: of the project's folder.
        record: of the project.
        new_record: of the project after the upgrade; its files are in ``scratch / "new"``.
        framework: the new version.
        scratch: a folder for the old version, if it must be composed again.
    """
    files = {path: read_new_file(scratch / "new" / path) for path in new_record.files}
    reader = BaseReader(git, framework.git, lambda: compose_old(record, framework, scratch))
    versions = [f"Plainloop {version}" for version in (record.version, new_record.version)]
    planner = Planner(
        git.folder, git.list_files(), reader.read, ("yours", versions[0], versions[1])
    )
    return planner.plan(record.files, files)


def read_new_file(path: Path) -> NewFile:
    """Reads a file that was composed."""
    return NewFile(path.read_bytes(), os.access(path, os.X_OK))


def compose_old(record: Record, framework: Framework, scratch: Path) -> Path | None:
    """Composes the version that the project has, again.

    Returns:
        The folder with its files; None if the framework's history does not hold that version.
    """
    old = framework
    if framework.git is not None:
        has_commit = record.commit and framework.git.read("cat-file", "-t", record.commit)
        commit = record.commit if has_commit else find_commit(framework.git, record.version)
        if not commit:
            return None
        old = check_out_commit(framework, commit, scratch / "old-framework")
    compose(old.folder, scratch / "old", record.config, record.rooms)
    return scratch / "old"


def print_text(text: str) -> None:
    """Prints lines without characters that could control a terminal."""
    print("\n".join(map(printable, text.split("\n"))), flush=True)
