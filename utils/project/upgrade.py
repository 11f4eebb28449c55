"""Upgrades a project to the version of the framework in a folder."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError, printable
from utils.project.aftercheck import CONFIG_SUFFIXES, list_configs, try_project
from utils.project.apply import Upgrade
from utils.project.bases import BaseReader
from utils.project.compose import compose
from utils.project.first_commit import is_changed
from utils.project.git import Git
from utils.project.plan import Change, Kind, NewFile, Planner
from utils.project.record import Record
from utils.project.rooms import ROOMS, expand_rooms
from utils.project.source import Framework, check_out_commit, find_commit, open_framework
from utils.project.taken import take_again
from utils.project.upgrade_report import (
    NEEDS_ATTENTION,
    make_next_steps,
    make_report,
    read_changelog,
)

NEEDS_ATTENTION_STATUS = 3


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
        config = "" if record.migration else choose_config(framework, args.config, record.config)
        rooms = choose_rooms(project, record, args.add_room)
        new_record = compose_version(framework.folder, scratch / "new", record, config, rooms)
        new_record.source, new_record.commit = source, framework.commit
        git = Git(project)
        changes = plan(git, record, new_record, framework, scratch)
        title = f"Plainloop {record.version} to {new_record.version}"
        if new_record.files == record.files:
            print(f"The project has the newest version, {record.version}, already.")
            return 0
        changelog = read_changelog(framework.folder, record.version, new_record.version)
        print_text(make_report(title, changelog, changes))
        if is_changed(framework.folder):
            print("\nThe framework's folder has uncommitted changes; they come along.")
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


def choose_config(framework: Framework, chosen: str, recorded: str) -> str:
    """Returns the path of the config that chooses the project's files, in the framework's folder.

    Args:
        framework: the new version.
        chosen: a file in ``config/``, with or without its suffix; empty for the recorded one.
        recorded: the config of the project's record.

    Raises:
        UserError: the new version has no such config.
    """
    name = chosen or recorded
    for folder in ("config", "."):
        for suffix in ("", *CONFIG_SUFFIXES):
            path = Path(folder, f"{name}{suffix}")
            if (framework.folder / path).is_file():
                return path.as_posix()
    names = ", ".join(Path(path).name for path in list_configs(framework.folder))
    hint = "choose one by --from; there are"
    raise UserError(f"config '{name}': is not in version {framework.version}; {hint}: {names}")


def choose_rooms(project: Path, record: Record, added: list[str]) -> list[str]:
    """Returns the rooms of the project after the upgrade.

    A room that the user has deleted, or that the framework has no longer, does not come back.

    Raises:
        UserError: an added room is unknown.
    """
    try:
        added = expand_rooms(added)
    except UserError as error:
        raise UserError(f"--add-room: {error}") from None
    if added and record.migration:
        raise UserError("--add-room: a project of utils.migrate has all rooms already")
    present = [
        name
        for name in record.rooms
        if name in ROOMS and any((project / path).exists() for path in ROOMS[name].paths)
    ]
    return [name for name in ROOMS if name in present or name in added]


def compose_version(
    framework: Path, target: Path, record: Record, config: str, rooms: list[str]
) -> Record:
    """Writes the files that a project takes from a version of the framework.

    Args:
        framework: the folder of that version.
        target: a new folder for the files.
        record: of the project.
        config: the config that chooses the files.
        rooms: the optional rooms.

    Returns:
        The record of these files.
    """
    if record.migration:
        return take_again(framework, target, record.migration)
    return compose(framework, target, config, rooms)


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
    sources = list_sources(record, framework)
    repositories = [git, *(source.git for source in sources if source.git is not None)]
    reader = BaseReader(repositories, compose_old(record, sources, scratch))
    labels = ("yours", f"Plainloop {record.version}", f"Plainloop {new_record.version}")
    planner = Planner(git.folder, git.list_files(), reader.read, labels)
    return planner.plan(record.files, files)


def read_new_file(path: Path) -> NewFile:
    """Reads a file that was composed."""
    return NewFile(path.read_bytes(), os.access(path, os.X_OK))


def list_sources(record: Record, framework: Framework) -> list[Framework]:
    """Returns where the version that the project has may be found: also where it came from."""
    sources = [framework]
    with contextlib.suppress(UserError, OSError):
        sources.append(open_framework(Path(record.source)))
    return sources


def compose_old(record: Record, sources: list[Framework], scratch: Path) -> Iterator[Path]:
    """Composes the version that the project has again.

    Yields:
        Folders whose files may be those that the project was given.
    """
    for number, source in enumerate(sources):
        folder = scratch / f"old-{number}"
        with contextlib.suppress(UserError, OSError):  # then conflicts show what differs
            if source.version == record.version:
                target = folder / "as-it-is"
                compose_version(source.folder, target, record, record.config, record.rooms)
                yield target
        with contextlib.suppress(UserError, OSError):
            commit = find_old_commit(record, source)
            if commit:
                folder.mkdir(exist_ok=True)
                old = check_out_commit(source, commit, folder / "framework").folder
                target = folder / "committed"
                compose_version(old, target, record, record.config, record.rooms)
                yield target


def find_old_commit(record: Record, source: Framework) -> str:
    """Returns the framework's commit that the project has; empty if it is not in the history."""
    if source.git is None:
        return ""
    is_known = record.commit and source.git.read("cat-file", "-t", record.commit) == "commit"
    return record.commit if is_known else find_commit(source.git, record.version)


def print_text(text: str) -> None:
    """Prints lines without characters that could control a terminal."""
    print("\n".join(map(printable, text.split("\n"))), flush=True)
