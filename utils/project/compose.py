"""Composes the framework's files of a project: the same arguments give the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from config.check.project import USER_FOLDERS
from config.read.merge import SUFFIXES
from utils.errors import UserError, one_line
from utils.project.git import open_repository
from utils.project.needs import Needs, find_needs
from utils.project.readmes import prune_readmes
from utils.project.record import Record, get_blob_id
from utils.project.rooms import ROOMS, expand_rooms, remove_room
from utils.project.settings import adapt_settings
from utils.project.source import VERSION_FILE, get_version

CODE = ("base/", "config/", "logger/", "utils/")  # copied, but for the examples in config/
FILES = (".gitignore", "saved/.gitkeep", "pyproject.toml", "test.py", "train.py")
TEMPLATES = "utils/project/templates"
LEFT_OUT = ("utils/new.py", f"{TEMPLATES}/")  # a project is not where other projects begin
SKIPPED_AT_TOP = (".git", ".venv", "build", "data", "saved")  # where no git says what is ignored


def compose(framework: Path, target: Path, config: str, rooms: Sequence[str]) -> Record:
    """Writes the files that a project takes from the framework into a new folder.

    ``config/schema.json`` is not among them, because it is made from the project's classes. Neither
    is ``README.md``, which is the project's.

    Args:
        framework: the folder of the framework, with or without git.
        target: the folder to write to; it is made.
        config: the path of the config to begin with, such as ``config/config.json``.
        rooms: the optional rooms, by their names in ``ROOMS`` or ``SETS``.

    Returns:
        The record of the files. Its ``commit`` and ``source`` are empty, and it is not written.

    Raises:
        UserError: the config or a room does not exist, or a file cannot be read or written.
    """
    if not (framework / TEMPLATES).is_dir():
        raise UserError(f"{framework}: has no {TEMPLATES}; a project needs a later version")
    if not (framework / config).is_file():
        raise UserError(f"{framework / config}: no such config")
    chosen = expand_rooms(rooms)
    needs = find_needs(framework, config)
    try:
        for name in list_files(framework):
            if is_needed(name, needs):
                copy(framework / name, target / name)
        copy(framework / "LICENSE", target / "LICENSE.plainloop")
        for name, room in ROOMS.items():
            if name not in chosen and any((target / path).exists() for path in room.paths):
                remove_room(room, target)
        adapt_settings(target, needs, chosen)
        for name in list_files(framework / TEMPLATES):
            if name != "README.md.in":
                copy(framework / TEMPLATES / name, target / name.removesuffix(".in"))
        fill(target / "Makefile", config=Path(config).name)
        prune_readmes(framework, target, Path(config).name)
    except OSError as error:
        reason = f"{error.filename or target}: {error.strerror or one_line(error)}"
        raise UserError(f"{target}: cannot be written: {reason}") from None
    version = get_version((framework / VERSION_FILE).read_text(encoding="utf-8"))
    return make_record(target, version, config, chosen)


def list_files(folder: Path) -> list[str]:
    """Lists the files of a folder that git tracks or would track, as relative paths."""
    git = open_repository(folder)
    listed = "" if git is None else git.read("ls-files", "-coz", "--exclude-standard")
    if listed:
        return sorted(name for name in listed.split("\0") if (folder / name).is_file())
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in paths if not _is_ignored(path))


def _is_ignored(path: Path) -> bool:
    is_skipped = path.parts[0] in SKIPPED_AT_TOP and path.name != ".gitkeep"
    return is_skipped or "__pycache__" in path.parts


def is_needed(name: str, needs: Needs) -> bool:
    """Whether a project with these needs takes the file ``name`` of the framework."""
    folder, _, rest = name.partition("/")
    if name.startswith(LEFT_OUT):
        return False
    if folder in USER_FOLDERS:
        return name in needs.files or rest in ("README.md", "__init__.py")
    if folder == "config" and name.endswith(SUFFIXES):
        return name in needs.configs
    return name in FILES or name in needs.configs or name.startswith(CODE)


def copy(source: Path, target: Path) -> None:
    """Copies a file with its mode, and makes the folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def fill(path: Path, **values: str) -> None:
    """Replaces each ``{{NAME}}`` in a file by the value of this name."""
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    path.write_text(text, encoding="utf-8")


def make_record(target: Path, version: str, config: str, rooms: list[str]) -> Record:
    """Returns the record of a folder that was just composed."""
    paths = sorted(path for path in target.rglob("*") if path.is_file())
    files = {path.relative_to(target).as_posix(): get_blob_id(path.read_bytes()) for path in paths}
    return Record(version=version, config=config, rooms=rooms, files=files)
