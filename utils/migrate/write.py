"""Writes the new project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from utils.errors import UserError, one_line
from utils.migrate.compose import NewProject
from utils.migrate.plainloop import ROOT
from utils.migrate.project import Project
from utils.project.taken import make_record


def check_target(folder: Path, target: Path) -> None:
    """Raises UserError if the project in ``folder`` cannot be written to ``target``."""
    is_empty_folder = target.is_dir() and not any(target.iterdir())
    if os.path.lexists(target) and not is_empty_folder:
        raise UserError(f"--to {target}: exists and is not an empty folder; give a new name")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise UserError(f"--to {target}: the folder {parent} does not exist; create it first")
    if target.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--to {target}: is inside the project; give a folder outside")


def write_project(project: Project, new: NewProject, target: Path) -> None:
    """Writes everything, or nothing: to a folder beside ``target`` that is renamed at the end.

    Raises:
        UserError: the folder cannot be written, or a file of the project cannot be read.
    """
    temporary = target.absolute().parent / f".{target.name}.migrating"
    shutil.rmtree(temporary, ignore_errors=True)
    record = make_record(ROOT, new.taken)
    try:
        for path, text in new.texts.items():
            _make_parent(temporary / path).write_text(text, encoding="utf-8", newline="\n")
        for path in new.copied:
            _copy(project.folder / path, _make_parent(temporary / path), project.folder)
        for path in new.linked:
            _make_parent(temporary / path).symlink_to((project.folder / path).resolve())
        for path in project.failures:
            copy = _make_parent(temporary / "aside" / path)
            _copy(project.folder / path, copy, project.folder)
        for path in project.empty_folders:
            if any(Path(path).is_relative_to(folder) for folder in new.linked):
                continue
            (temporary / path).mkdir(parents=True, exist_ok=True)
        record.write(temporary)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"--to {target}: cannot be written: {reason}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _make_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _copy(source: Path, target: Path, project_folder: Path) -> None:
    """Copies a file. A link stays relative only if it points into the project."""
    if not source.is_symlink():
        shutil.copy2(source, target)
        return
    link = source.readlink()
    is_inside = source.resolve().is_relative_to(project_folder.resolve())
    target.symlink_to(link if is_inside and not link.is_absolute() else source.resolve())
