"""The optional rooms: folders and files that a project can do without."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError, did_you_mean

FEATURES = "base/features.py"  # the register of most rooms


class Room(NamedTuple):
    """What one deletes to remove a room: files or folders, and lines of a register.

    Attributes:
        paths: the files and folders of the room, relative to the project.
        register: the file with the room's lines; empty if there is none.
        text: what each of these lines contains.
        needs: the rooms from which this one imports.
    """

    paths: tuple[str, ...]
    register: str = ""
    text: str = ""
    needs: tuple[str, ...] = ()


ROOMS = {
    "transfer": Room(("base/transfer",), FEATURES, "base.transfer"),
    "feature-cache": Room(
        ("base/transfer/feature_cache.py", "base/transfer/frozen_prefix.py"), needs=("transfer",)
    ),
    "fsdp": Room(("base/parallel/fsdp.py",), "base/parallel/kinds.py", "base.parallel.fsdp"),
    "sharded-checkpoints": Room(
        ("base/checkpoint/sharded.py", "base/checkpoint/dcp.py"),
        FEATURES,
        "base.checkpoint.sharded",
    ),
    "wandb": Room(("logger/backends/wandb.py",), FEATURES, "logger.backends.wandb"),
    "tools": Room(("base/tools",), FEATURES, "base.tools"),
    "old-checkpoints": Room(
        (
            "base/checkpoint/template.py",
            "base/checkpoint/old_objects.py",
            "base/checkpoint/project_classes.py",
        ),
        "base/__init__.py",
        "base.checkpoint.template",
    ),
    "groups": Room(("base/groups",), FEATURES, "base.groups", needs=("tools",)),
    "notebook": Room(("base/notebook", "utils/notebook.py"), "train.py", "utils.notebook"),
    "upgrades": Room(("utils/project", "utils/new.py", "utils/upgrade.py")),
    "migrate": Room(("utils/migrate",), needs=("upgrades",)),
}
DEFAULT_ROOMS = ("tools", "upgrades")  # useful with every experiment
SETS = {  # names for several rooms
    "transfer": ("transfer", "feature-cache"),
    "parallel": ("fsdp", "sharded-checkpoints"),
    "all": tuple(ROOMS),
    "none": (),
}


def expand_rooms(names: Iterable[str]) -> list[str]:
    """Returns the rooms that these names mean, and those that they need, in the order of ``ROOMS``.

    Args:
        names: of rooms, or of sets of rooms: ``all``, ``none``, ``parallel``.

    Raises:
        UserError: there is no such room.
    """
    found: set[str] = set()
    choices = list(dict.fromkeys([*ROOMS, *SETS]))
    for name in names:
        if name not in choices:
            hint = did_you_mean(name, choices)
            raise UserError(f"no room '{name}'{hint}; there are: {', '.join(choices)}")
        for room in SETS.get(name, (name,)):
            found |= {room, *ROOMS[room].needs}
    return [name for name in ROOMS if name in found]


def remove_room(room: Room, project: Path) -> None:
    """Deletes a room of the project in the folder ``project``.

    Raises:
        UserError: the register has no line for the room.
    """
    for name in room.paths:
        path = project / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # gone already, with the room around it
    if room.register:
        register = project / room.register
        lines = register.read_text(encoding="utf-8").splitlines(keepends=True)
        others = [line for line in lines if room.text not in line]
        if len(others) == len(lines):
            raise UserError(f"{room.register}: has no line with {room.text}")
        register.write_text("".join(others), encoding="utf-8")
