"""Moves a pytorch-template project in: ``python -m utils.migrate PROJECT --to NEW_FOLDER``; ``--check`` only tells."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from utils.errors import UserError, one_line, printable
from utils.main import run_main
from utils.migrate.compose import Folder, compose
from utils.migrate.configs import find
from utils.migrate.decide import decide
from utils.migrate.problems import for_a_person
from utils.migrate.project import Survey, read
from utils.migrate.report import report

LEFT = 3  # the exit status of --check where something is left for a person


def main(project: Path, target: Path | None) -> int:
    """Reads, writes if there is a target, and tells. Returns the exit status."""
    if target is not None:
        _check_target(project, target)
    survey = read(project)
    configs = find(project, survey.others)
    decide(survey, configs)
    folder = compose(survey)
    left = for_a_person(survey, configs)
    text = report(survey, folder, configs, left, str(target or "NEW_FOLDER"))
    if target is not None:
        folder.texts["MIGRATION.md"] = text
        write(survey, folder, target)
    print("\n".join(map(printable, text.split("\n"))))
    return 0 if target is not None or not left else LEFT


def _check_target(project: Path, target: Path) -> None:
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"--to {target}: is there already, and not an empty folder")
    if not target.absolute().parent.is_dir():
        raise UserError(
            f"--to {target}: there is no folder {target.absolute().parent} to make it in"
        )
    if target.resolve().is_relative_to(project.resolve()):
        raise UserError(f"--to {target}: lies inside the project, which is not changed")


def write(survey: Survey, folder: Folder, target: Path) -> None:
    """Writes all of it beside ``target`` and then renames, so that there is all of it or nothing.

    Raises:
        UserError: it cannot be written, or a file of the project cannot be read.
    """
    temporary = target.absolute().parent / f".{target.name}.migrating"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for path, text in folder.texts.items():
            _made(temporary / path).write_text(text, encoding="utf-8", newline="\n")
        for path in (*folder.copied, *survey.unread):
            new = temporary / ("aside" if path in survey.unread else "") / path
            _copy(survey.folder / path, _made(new), survey.folder)
        for path in survey.empty:
            (temporary / path).mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        raise UserError(
            f"--to {target}: cannot be written: {error.strerror or one_line(error)}"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _copy(old: Path, new: Path, project: Path) -> None:
    """A copy of a file; a link is made anew, to the same place if that lies outside of the project."""
    if old.is_symlink():
        inside = (
            old.resolve().is_relative_to(project.resolve()) and not old.readlink().is_absolute()
        )
        new.symlink_to(old.readlink() if inside else old.resolve())
    else:
        shutil.copy2(old, new)


if __name__ == "__main__":
    args = argparse.ArgumentParser(
        prog="python -m utils.migrate", description="Moves a pytorch-template project in."
    )
    args.add_argument("project", type=Path, help="its folder; it is read, neither run nor changed")
    what = args.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--to", type=Path, metavar="NEW_FOLDER", help="where to write the project, moved in"
    )
    what.add_argument(
        "--check", action="store_true", help="only tell; status 3 if something is left for a person"
    )
    options = args.parse_args()
    run_main(lambda: sys.exit(main(options.project, options.to)))
