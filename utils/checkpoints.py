"""Finding checkpoints in a run's folder by their names alone."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from math import inf
from pathlib import Path

from utils.errors import UserError
from utils.files import fsync_folder

BEST = "model_best.pt"
SHARDS = ".shards"  # the end of a folder's name, whose tensors a checkpoint beside it refers to
_NAME = re.compile(r"checkpoint-(?:epoch|step)(\d+)(?:-step(\d+))?\.(?:pt|pth)")


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the newest (by number) first; the best one is not among them."""
    found = [
        path for path in folder.iterdir() if checkpoint_number(path) != (0, 0) and path.is_file()
    ]
    return sorted(found, key=checkpoint_number, reverse=True)


def checkpoint_number(path: Path) -> tuple[float, float]:
    """What a checkpoint's name tells: the epoch, and the step if it is one within that epoch; zeros for another file.

    ``checkpoint-epoch3-step70.pt`` comes before ``checkpoint-epoch3.pt``, which is of the finished epoch.
    """
    match = _NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2]) if match[2] else inf) if match else (0, 0)


def shards_of(path: Path) -> Path | None:
    """The folder of shards that a checkpoint refers to, by its bytes alone. Raises OSError and zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
    match = re.search(rb"[\w.-]+\.[0-9a-f]{8}" + re.escape(SHARDS.encode()), b"".join(pickles))
    return path.with_name(match[0].decode()) if match else None


def sweep_shards(folder: Path) -> None:
    """Deletes the shards to which no checkpoint in ``folder`` refers: of deleted ones, and of a killed save."""
    if not (there := list(folder.glob(f"*{SHARDS}"))):
        return
    fsync_folder(folder)  # a power cut must not bring back what refers to them
    try:
        kept = {shards_of(path) for path in folder.glob("*.pt")}
    except (OSError, zipfile.BadZipFile):  # a damaged one does not tell
        return
    for path in there:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(name: str | Path, best_first: bool = False) -> Path:
    """The checkpoint that ``-r`` means: the file itself, or in a run's folder the newest (or the best).

    Raises:
        UserError: nothing there.
    """
    path = Path(name)
    if os.path.isfile(path):  # noqa: PTH113  (never raises, however long the name)
        return path
    if not os.path.isdir(path):  # noqa: PTH112
        raise UserError(f"{path}: no such checkpoint or run folder; runs are in saved/NAME/RUN_ID")
    best = [path / best for best in (BEST, "model_best.pth") if (path / best).is_file()]
    found = best + list_checkpoints(path) if best_first else list_checkpoints(path) + best
    if not found:
        raise UserError(
            f"{path}: there is no checkpoint in this folder (checkpoint-epochN.pt or {BEST})"
        )
    return found[0]
