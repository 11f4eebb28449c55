"""The command ``python -m utils.upgrade``: brings a later version of the framework into a project.

It finds the framework and hands over to this same program there, so that each upgrade is done by
the newest program. ``--project`` names the project to a framework that does the work itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from utils.errors import UserError, printable
from utils.main import run_main
from utils.project.apply import check_tree
from utils.project.git import Git
from utils.project.record import Record
from utils.project.source import Framework, find_framework, open_framework, parse_version

ROOT = Path(__file__).resolve().parent.parent


def main(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit status."""
    project = (args.project or ROOT).absolute()
    record = Record.read(project)
    if not args.check:
        check_tree(Git(project))
    if args.project and not args.source and not args.version:  # this framework is the new one
        from utils.project.upgrade import upgrade

        framework = open_framework(ROOT)
        check_version(framework, record)
        source = args.recorded_source or str(ROOT)
        return upgrade(project, record, framework, source, args)
    with tempfile.TemporaryDirectory(prefix="plainloop-framework-") as name:
        source = args.source or record.source
        if not source:
            raise UserError("SOURCE: give the folder, archive or git URL of the framework")
        framework = find_framework(source, args.version, Path(name))
        if framework.folder == project.resolve():
            raise UserError(f"{source}: is this project; give the framework's folder or URL")
        check_version(framework, record)
        is_archive = Path(source).expanduser().is_file()  # the next version is not in this file
        recorded = record.source if is_archive else make_absolute(source)
        return hand_over(framework, project, recorded, args)


def check_version(framework: Framework, record: Record) -> None:
    """Raises UserError if the framework is older than the project."""
    if parse_version(framework.version) < parse_version(record.version):
        message = f"{framework.folder}: holds version {framework.version}, and the project has "
        raise UserError(f"{message}{record.version}; an upgrade goes forward only")
    if not (framework.folder / "utils/upgrade.py").is_file():
        message = f"{framework.folder}: version {framework.version} has no utils/upgrade.py"
        raise UserError(f"{message}; give a later one")


def make_absolute(source: str) -> str:
    """Returns the path of a folder from the root; a URL stays."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def hand_over(framework: Framework, project: Path, source: str, args: argparse.Namespace) -> int:
    """Lets the framework's program do the upgrade. Returns its exit status."""
    words = ["--project", str(project), "--recorded-source", source]
    words += ["--check"] if args.check else []
    words += ["--from", args.config] if args.config else []
    words += [word for room in args.add_room for word in ("--add-room", room)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "utils.upgrade", *words]
    sys.stdout.flush()
    with subprocess.Popen(command, cwd=framework.folder, env=environment) as process:
        try:
            return process.wait()
        except BaseException:  # it undoes what it has done, and needs the framework's files for it
            process.terminate()
            process.wait()
            raise


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.upgrade",
        description="Brings a later version of Plainloop into this project. Your changes are kept.",
        epilog="Exit status: 0, all is done; 2, nothing was changed; 3, something needs you.",
    )
    help_text = "folder, archive or git URL of the framework (default: where the project is from)"
    parser.add_argument("source", nargs="?", default="", metavar="SOURCE", help=help_text)
    help_text = "report only; exit status 3 if there would be conflicts"
    parser.add_argument("--check", action="store_true", help=help_text)
    help_text = "such as 0.8.0 (default: what SOURCE holds)"
    parser.add_argument("--version", default="", help=help_text)
    help_text = "an optional room to add, such as transfer; may be given several times"
    parser.add_argument("--add-room", action="append", default=[], metavar="NAME", help=help_text)
    help_text = "another config to take files for, if the new version no longer has the first one"
    parser.add_argument("--from", dest="config", default="", metavar="CONFIG", help=help_text)
    help_text = "upgrade the project in this folder to the version that this program belongs to"
    parser.add_argument("--project", type=Path, metavar="FOLDER", help=help_text)
    parser.add_argument("--recorded-source", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    arguments = make_parser().parse_args()
    arguments.version = printable(arguments.version.removeprefix("v"))
    run_main(lambda: sys.exit(main(arguments)))
