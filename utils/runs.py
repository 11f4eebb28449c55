"""Finding checkpoints in a run's folder by their names alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import UserError

BEST = "model_best.pt"
_NAME = re.compile(r"checkpoint-(?:epoch|step)(\d+)\.(?:pt|pth)")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, the newest (by number) first; the best one is not among them."""
    return sorted(filter(checkpoint_number, folder.iterdir()), key=checkpoint_number, reverse=True)


def checkpoint_number(path: Path) -> int:
    """The epoch or step in a checkpoint's name; 0 for another file."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


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
    found = best + checkpoints(path) if best_first else checkpoints(path) + best
    if not found:
        raise UserError(f"{path}: there is no checkpoint in this folder (checkpoint-epochN.pt or {BEST})")
    return found[0]
