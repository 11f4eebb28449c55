"""Writes the checkpoints of a run: decides when, names the files, and handles failures."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from base.checkpoint.file import TensorStore, duplicate, remove_unused_files, save
from base.checkpoint.retention import KeepBest, KeepLast, best_name
from base.loop.progress import Monitor, Tag
from base.options import TrainerOptions
from utils.checkpoints import BEST
from utils.distributed import broadcast, is_main, set_activity
from utils.errors import UserError

MakeState = Callable[[], dict[str, Any]]


class Write(NamedTuple):
    """A checkpoint to write: its path in the series, all files to write, the best epochs."""

    path: Path
    targets: list[Path]
    best_epochs: Sequence[Tag]


class CheckpointManager:
    """Writes the checkpoints of a run. All ranks call its methods, and the main rank writes.

    Args:
        folder: the folder of the run.
        options: save_steps, save_minutes, keep_last, keep_best, async_save, sharded_checkpoint,
            on_save_error.
        logger: gets a warning if a run continues after a failed save.

    Attributes:
        seconds: the duration of the slowest save.
        next_step, next_time: when the next checkpoint inside an epoch is due, as an optimizer step
            and as a value of ``time.monotonic``.
        error: the error of the last save, until ``wait`` raises or logs it.
    """

    def __init__(self, folder: Path, options: TrainerOptions, logger: logging.Logger) -> None:
        self.folder, self.options, self.logger = folder, options, logger
        self.retention = (KeepLast(options.keep_last), KeepBest())
        self.store = TensorStore()
        if options.sharded_checkpoint:
            from base import features

            self.store = features.get_serving("sharded_checkpoint")()
        self.seconds = 0.0
        self._schedule_next(0, time.monotonic())
        self.error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._snapshot: dict[str, Any] | None = None  # the thread writes it

    def _schedule_next(self, step: int, time_saved: float) -> None:
        options = self.options
        self.next_step = inf if options.save_steps is None else step + options.save_steps
        minutes = inf if options.save_minutes is None else options.save_minutes
        self.next_time = time_saved + 60 * minutes

    def save(
        self,
        make_state: MakeState,
        tag: Tag,
        step: int,
        is_best: bool = False,
        in_series: bool = True,
        best_epochs: Sequence[Tag] = (),
    ) -> None:
        """Writes ``checkpoint-epochN.pt``, or ``checkpoint-epochN-stepM.pt`` inside an epoch.

        Args:
            make_state: returns the state as a plain dict.
            tag, step: the position, in epochs and in optimizer steps of the run.
            is_best: whether to write ``model_best.pt`` too.
            in_series: False for an epoch that is saved only because it is among the best.
            best_epochs: the tags of the best epochs, the best first.
        """
        path = self.folder / f"checkpoint-epoch{tag}.pt"
        targets = [path] if in_series else []
        if self.options.keep_best > 1 and tag in best_epochs:
            targets.append(self.folder / best_name(tag))
        if is_best:
            targets.append(self.folder / BEST)
        self._save(make_state, step, Write(path, targets, best_epochs))

    def _save(self, make_state: MakeState, step: int, write: Write) -> None:
        """Writes a checkpoint. With ``async_save``, the caller waits only for a copy of the state.

        Raises:
            UserError: this checkpoint, or an asynchronous one before it, could not be written.
        """
        self.wait()
        start = time.monotonic()
        activity = set_activity("the saving of a checkpoint")
        state = self.write_tensors(make_state(), write.path)
        if is_main() and self.options.async_save:
            from base.checkpoint.snapshot import copy_to_cpu

            self._snapshot = copy_to_cpu(state, self._snapshot)
            self._thread = threading.Thread(target=self._write, args=(self._snapshot, write, start))
            self._thread.start()
        elif is_main():
            self._write(state, write, start)
            self.wait()
        self._schedule_next(step, start if self.options.async_save else time.monotonic())
        broadcast(None)  # the other ranks wait for the main rank; its failure ends them too
        set_activity(activity)

    def write_tensors(self, state: dict[str, Any], path: Path) -> dict[str, Any]:
        """Lets the store write the tensors. ``wait`` raises an error of the store."""
        try:
            return self.store.write(state, path)
        except UserError as error:
            self.error = error
            return state

    def _write(self, state: dict[str, Any], write: Write, start: float) -> None:
        if self.error is not None:
            return
        try:
            save(state, write.targets[0])
            for target in write.targets[1:]:
                duplicate(write.targets[0], target)
            for policy in self.retention:
                for old in policy.find_obsolete(self.folder, write.path, write.best_epochs):
                    old.unlink(missing_ok=True)
        except OSError as error:
            reason = f"the checkpoint could not be written: {error.strerror}"
            self.error = UserError(f"{write.path}: {reason}")
        except Exception as error:  # an exception in a thread would get lost
            self.error = error
        with contextlib.suppress(OSError):  # the next save tries again
            remove_unused_files(self.folder)
        self.seconds = max(self.seconds, time.monotonic() - start)

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk.

        Raises:
            UserError: it could not be written, and ``on_save_error`` is ``stop``.
        """
        # The thread has no ``ident`` if a signal has interrupted its start.
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
            self._thread = None
        error, self.error = self.error, None
        if error is None:
            return
        if self.options.on_save_error == "stop" or not isinstance(error, UserError):
            raise error
        self.logger.warning("%s; training continues, as trainer.on_save_error says", error)

    def resume_at(self, path: Path, step: int, monitor: Monitor) -> None:
        """Continues from the checkpoint ``path``: deletes leftovers, and restores the best files.

        ``monitor`` forgets the best epochs whose file is gone.

        Raises:
            UserError: the folder cannot be written to.
        """
        from base.checkpoint.best_files import restore_best_files

        self._schedule_next(step, time.monotonic())
        restore_best_files(self.folder, path, monitor, self.options.keep_best, self.logger)
