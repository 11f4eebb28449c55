"""Begins a project of your own: ``python -m utils.new ../mine``.

The new folder has the framework, one experiment with what it needs, the tests that a user needs,
and a first commit. ``--from`` chooses the experiment, ``--rooms`` the optional rooms.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from config.read.merge import find_config, load_tree
from utils.errors import UserError, printable
from utils.files import to_path
from utils.main import run_main
from utils.new_folder import check_new_folder, write_new_folder
from utils.project.compose import compose, list_files
from utils.project.first_commit import commit_all, find_source, is_changed, read_commit
from utils.project.needs import find_needs
from utils.project.readmes import write_readme
from utils.project.record import FILE_NAME, Record
from utils.project.rooms import DEFAULT_ROOMS, ROOMS, SETS, expand_rooms

ROOT = Path(__file__).resolve().parent.parent


def main(target: Path, config_name: str, room_names: str | None) -> None:
    """Makes the project in the folder ``target``, or nothing at all."""
    if (ROOT / FILE_NAME).is_file():
        source = Record.read(ROOT).source
        message = f"{ROOT}: is a project itself; run the command in the framework's folder"
        raise UserError(f"{message}: {source}" if source else message)
    check_new_folder(target, str(target), ROOT, "framework")
    names = None if room_names is None else room_names.replace(",", " ").split()
    rooms = None if names is None else expand_rooms(names)
    config = check_config(config_name)
    needs = find_needs(ROOT, config)
    rooms = needs.rooms if rooms is None else rooms
    if missing := [room for room in needs.rooms if room not in [*rooms, *DEFAULT_ROOMS]]:
        raise UserError(f"--rooms: {config} needs {', '.join(missing)}")
    with write_new_folder(target, str(target)) as folder:
        record = compose(ROOT, folder, config, rooms)
        record.commit, record.source = read_commit(ROOT), find_source(ROOT)
        record.write(folder)
        write_readme(ROOT, folder, target.absolute().name, record)
        write_schema(folder)
        is_committed = commit_all(folder, f"Begin with Plainloop {record.version}")
    print("\n".join(map(printable, report(target, record, is_committed))))


def check_config(name: str) -> str:
    """Returns the path of a config from the framework's folder.

    Raises:
        UserError: it is no config of the framework, or has mistakes.
    """
    path = find_config(name)
    if not path.resolve().is_relative_to(ROOT / "config"):
        raise UserError(f"{path}: is not in the config/ of {ROOT}; copy it there first")
    config = path.resolve().relative_to(ROOT).as_posix()
    if config not in list_files(ROOT):
        raise UserError(f"{path}: is ignored by git; a project would not get it")
    from base.schema import SCHEMA  # imports torch
    from config import ConfigParser

    ConfigParser(load_tree(path), run_id="unused").check(SCHEMA)
    return config


def write_schema(project: Path) -> None:
    """Writes ``config/schema.json`` from the classes of the project."""
    command = [sys.executable, "-m", "config", "schema"]
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"config/schema.json: cannot be made: {reason}")


def report(target: Path, record: Record, is_committed: bool) -> list[str]:
    """Returns the lines to print at the end."""
    rooms = ", ".join(record.rooms) or "none"
    lines = [
        f"{target}: a project with {len(record.files)} files of Plainloop {record.version}",
        f"  experiment {record.config}",
        f"  rooms      {rooms}",
    ]
    if is_changed(ROOT):
        lines.append("  note       the framework has uncommitted changes, and the project has them")
    if not is_committed:
        lines.append("  note       git is not installed; utils.upgrade needs a commit of all files")
    folder = shlex.quote(str(target))
    return [
        *lines,
        f"  to train   cd {folder} && make train",
        f"  to test    cd {folder} && make test",
    ]


def make_parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    choices = ", ".join(dict.fromkeys([*SETS, *ROOMS]))
    parser = argparse.ArgumentParser(
        prog="python -m utils.new", description="Begins a project of your own with Plainloop."
    )
    parser.add_argument("target", type=to_path, metavar="TARGET", help="the new folder")
    help_text = "the experiment to begin with (default: config.json)"
    parser.add_argument(
        "--from", dest="config", default="config.json", metavar="CONFIG", help=help_text
    )
    defaults = ", ".join(DEFAULT_ROOMS)
    help_text = f"optional rooms, with commas (default: {defaults}, what CONFIG uses). They are: "
    parser.add_argument("--rooms", metavar="NAMES", help=help_text + choices)
    return parser


if __name__ == "__main__":
    arguments = make_parser().parse_args()
    run_main(lambda: main(arguments.target, arguments.config, arguments.rooms))
