"""The command ``python -m utils.migrate PROJECT --to NEW_FOLDER``.

With ``--check`` instead of ``--to``, it only reports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.errors import printable
from utils.main import run_main
from utils.migrate.compose import compose
from utils.migrate.configs import find_configs
from utils.migrate.decide import decide
from utils.migrate.large_folders import link_folders
from utils.migrate.problems import find_problems
from utils.migrate.read_project import read_project
from utils.migrate.report import make_report
from utils.migrate.write import check_target, write_project

EXIT_NEEDS_ATTENTION = 3  # the status of --check if the report lists problems


def main(folder: Path, target: Path | None, linked: Sequence[str] = ()) -> int:
    """Reads the project, writes the new one if there is a target, and prints the report.

    Args:
        folder: the project.
        target: the new folder.
        linked: folders of data in the project, for which the new one gets links.

    Returns:
        The exit status.
    """
    if target is not None:
        check_target(folder, target)
    project = read_project(folder)
    configs = find_configs(folder, project.other_files)
    decide(project, configs)
    new = compose(project)
    link_folders(project, new, linked)
    problems = find_problems(project, configs)
    report = make_report(project, new, configs, problems, str(target or "NEW_FOLDER"))
    if target is not None:
        new.texts["MIGRATION.md"] = report
        write_project(project, new, target)
    print("\n".join(map(printable, report.split("\n"))))
    return EXIT_NEEDS_ATTENTION if target is None and problems else 0


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.migrate", description="Moves a pytorch-template project to Plainloop."
    )
    parser.add_argument(
        "project", type=Path, help="the folder of the project; it is neither run nor changed"
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--to", type=Path, metavar="NEW_FOLDER", help="write the new project to this folder"
    )
    action.add_argument(
        "--check",
        action="store_true",
        help="print the report only; exit status 3 if something needs your attention",
    )
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="FOLDER",
        help="make a link to this data folder of the project instead of a copy; repeatable",
    )
    return parser


if __name__ == "__main__":
    arguments = make_parser().parse_args()
    run_main(lambda: sys.exit(main(arguments.project, arguments.to, arguments.link)))
