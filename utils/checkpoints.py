"""Finds checkpoints in a run's folder by their names, without opening them."""

from __future__ import annotations

import json
import os
import re
from math import inf
from pathlib import Path

from utils.errors import UserError
from utils.files import expand_home

CONFIG = "config.json"  # of the run
GROUP = "group.json"  # the config of a search or a repetition, in the folder of its runs
BEST = "model_best.pt"
# pytorch-template's names. Until October 2018, they ended with `.pth.tar` and might hold the loss.
TEMPLATE_SUFFIXES = (".pth", ".pth.tar")
TEMPLATE_BESTS = tuple(f"model_best{suffix}" for suffix in TEMPLATE_SUFFIXES)
_NAME = re.compile(
    r"checkpoint[-_](?:epoch|step)(\d+)(?:-step(\d+)|[-_]loss[-_][\d.]+)?\.(?:pt|pth|pth\.tar)"
)


def list_checkpoints(folder: Path) -> list[Path]:
    """The numbered checkpoints in ``folder``, the newest first, without ``model_best.pt``."""
    found = [
        path for path in folder.iterdir() if checkpoint_number(path) != (0, 0) and path.is_file()
    ]
    return sorted(found, key=checkpoint_number, reverse=True)


def checkpoint_number(path: Path) -> tuple[float, float]:
    """The epoch and the step in a checkpoint's name; zeros for any other file.

    The step is infinite after a finished epoch, so that ``checkpoint-epoch3-step70.pt`` comes
    before ``checkpoint-epoch3.pt``.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return 0, 0
    return int(match[1]), inf if match[2] is None else int(match[2])


def find_group(name: str | Path) -> Path | None:
    """The folder of a search or a repetition that ``-r NAME`` continues; None for anything else."""
    path = Path(expand_home(name))
    folder = path.parent if path.name == GROUP else path
    return folder if os.path.isfile(folder / GROUP) else None  # noqa: PTH113


def belongs_to_search(folder: Path) -> bool:
    """Whether a run is a trial of a search, or one of the runs of a trial."""
    for group in folder.absolute().parents[:2]:
        try:
            config = json.loads((group / GROUP).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(config, dict) and "search" in config:
            return True
    return False


def holds_runs(name: str | Path) -> bool:
    """Whether a folder is no run and holds runs, as that of a search or a repetition does."""
    path = Path(expand_home(name))
    if not os.path.isdir(path) or (path / CONFIG).is_file():  # noqa: PTH112
        return False
    if find_group(path) is not None:
        return True
    return not list_checkpoints(path) and any(path.glob(f"*/{CONFIG}"))


def find_checkpoint(name: str | Path, best_first: bool = False) -> Path:
    """The checkpoint that ``-r NAME`` resumes or tests.

    Args:
        name: a checkpoint, a run's folder, or a symbolic link to one. A link to a checkpoint may
            lie outside of the run, which goes on in its own folder.
        best_first: in a folder, prefer the best checkpoint to the newest.

    Raises:
        UserError: there is no checkpoint.
    """
    path = Path(expand_home(name))
    if os.path.isfile(path):  # noqa: PTH113  (unlike Path.is_file, takes a name of any length)
        target = path.resolve()
        is_link_to_run = path.is_symlink() and (target.parent / CONFIG).is_file()
        return target if is_link_to_run and not (path.parent / CONFIG).is_file() else path
    if not os.path.isdir(path):  # noqa: PTH112
        raise UserError(f"{path}: no such checkpoint or run folder; runs are in saved/NAME/RUN_ID")
    best = [path / best for best in (BEST, *TEMPLATE_BESTS) if (path / best).is_file()]
    newest = list_checkpoints(path)
    found = best + newest if best_first else newest + best
    if not found:
        raise UserError(
            f"{path}: there is no checkpoint in this folder (checkpoint-epochN.pt or {BEST})"
        )
    return found[0]
