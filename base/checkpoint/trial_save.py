"""Measures how long a save takes, so that ``max_minutes`` can stop a run early enough."""

from __future__ import annotations

import time
from typing import Any

from base.checkpoint.file import remove_unused_files, save
from base.checkpoint.manager import CheckpointManager
from utils.distributed import is_main


def measure_save(manager: CheckpointManager, state: dict[str, Any]) -> None:
    """Sets ``manager.seconds`` by saving ``state`` to a file that is deleted at once.

    Raises:
        UserError: the file could not be written.
    """
    start = time.monotonic()
    trial = manager.folder / ".measured.tmp"
    state = manager.write_tensors(state, trial)
    if manager.error is None and is_main():
        save(state, trial)
        trial.unlink()
        remove_unused_files(manager.folder)
        manager.seconds = time.monotonic() - start
    manager.wait()
