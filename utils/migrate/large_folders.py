"""Finds the large data folders of a project, which may be linked instead of copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from utils.errors import UserError
from utils.migrate.compose import NewProject
from utils.migrate.fingerprints import TEMPLATE_FOLDERS
from utils.migrate.project import Project

LARGE_BYTES = 100_000_000


def describe_large_folders(project: Project, new: NewProject) -> list[str]:
    """Returns a row for each large folder without code: its size, and how to link it."""
    rows = []
    for folder, size in sorted(find_large_folders(project).items()):
        shown = f"{folder}/: {size / 1e9:.1f} GB"
        is_linked = any(PurePosixPath(folder).is_relative_to(item) for item in new.linked)
        advice = f"copied; `--link {folder}` makes a link to it instead"
        rows.append(f"{shown}, linked, not copied" if is_linked else f"{shown}, {advice}")
    return rows


def find_large_folders(project: Project) -> dict[str, int]:
    """Returns the outermost folders that hold much data and no code, with their bytes."""
    with_code = {
        parent.as_posix()
        for path in (*project.files, *project.failures)
        for parent in PurePosixPath(path).parents
    }
    sizes: dict[str, int] = {}
    for path in project.other_files:
        file = project.folder / path
        size = 0 if file.is_symlink() else file.stat().st_size
        outermost = next(
            (
                parent.as_posix()
                for parent in reversed(PurePosixPath(path).parents)
                if parent.as_posix() not in {*with_code, "."}
            ),
            "",
        )
        if outermost:
            sizes[outermost] = sizes.get(outermost, 0) + size
    return {folder: size for folder, size in sizes.items() if size >= LARGE_BYTES}


def link_folders(project: Project, new: NewProject, linked: Sequence[str]) -> None:
    """Lets the new project get links to folders of data instead of copies.

    Raises:
        UserError: one of them is no folder in the project, or holds code.
    """
    for item in linked:
        path = Path(item)
        if path.is_absolute() and path.is_relative_to(project.folder.resolve()):
            path = path.relative_to(project.folder.resolve())
        name = path.as_posix()
        inside = not path.is_absolute() and ".." not in path.parts and name != "."
        if not inside or not (project.folder / path).is_dir():
            raise UserError(f"--link {item}: no such folder in {project.folder}")
        code = next(
            (
                file
                for file in (*project.files, *project.failures)
                if PurePosixPath(file).is_relative_to(name)
            ),
            "",
        )
        if code or name in TEMPLATE_FOLDERS:
            raise UserError(f"--link {item}: holds code ({code or name}); give a folder of data")
        new.linked.append(name)
        new.copied = [file for file in new.copied if not PurePosixPath(file).is_relative_to(name)]
