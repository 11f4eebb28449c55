"""Writes the new project."""

from __future__ import annotations

import shutil
from pathlib import Path

from utils.migrate.compose import NewProject
from utils.migrate.plainloop import ROOT
from utils.migrate.project import Project
from utils.new_folder import check_new_folder, write_new_folder
from utils.project.taken import make_record


def check_target(folder: Path, target: Path) -> None:
    """Raises UserError if the project in ``folder`` cannot be written to ``target``."""
    check_new_folder(target, f"--to {target}", folder, "project")


def write_project(project: Project, new: NewProject, target: Path) -> None:
    """Writes everything, or nothing.

    Raises:
        UserError: the folder cannot be written, or a file of the project cannot be read.
    """
    record = make_record(ROOT, new.taken)
    with write_new_folder(target, f"--to {target}") as folder:
        for path, text in new.texts.items():
            _make_parent(folder / path).write_text(text, encoding="utf-8", newline="\n")
        for path in new.copied:
            _copy(project.folder / path, _make_parent(folder / path), project.folder)
        for path in new.linked:
            _make_parent(folder / path).symlink_to((project.folder / path).resolve())
        for path in project.failures:
            copy = _make_parent(folder / "aside" / path)
            _copy(project.folder / path, copy, project.folder)
        for path in project.empty_folders:
            if not any(Path(path).is_relative_to(linked) for linked in new.linked):
                (folder / path).mkdir(parents=True, exist_ok=True)
        record.write(folder)


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
