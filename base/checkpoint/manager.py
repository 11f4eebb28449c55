"""When a run's checkpoints are written, under which names, which stay, and what a failure means."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from base.checkpoint.file import TensorStore, duplicate, remove_unused_files, save
from base.checkpoint.retention import KeepBest, KeepLast, best_name
from base.options import TrainerOptions
from utils.checkpoints import BEST
from utils.distributed import broadcast, is_main, set_activity
from utils.errors import UserError


@dataclass
class SaveRequest:
    """A checkpoint to write.

    Attributes:
        name: of its file in the run's series, as ``checkpoint-epoch3.pt``.
        is_best: it is the best so far, and becomes ``model_best.pt``.
        in_series: write it under its name too; False for a best epoch that is not due otherwise.
        best_epochs: the epochs that are among the best now.
    """

    name: str
    is_best: bool = False
    in_series: bool = True
    best_epochs: list[int] = field(default_factory=list)


class CheckpointManager:
    """Writes the checkpoints of one run folder; if several ranks train, the main one does.

    Args:
        folder: of the run.
        options: save_period, save_steps, save_minutes, keep_last, keep_best, async_save,
            sharded_checkpoint, on_save_error.
        logger: gets the warning of a failed save, if the run goes on.

    Attributes:
        seconds: of the slowest save so far.
        last_step: the optimizer steps that were done at the last checkpoint.
    """

    def __init__(self, folder: Path, options: TrainerOptions, logger: logging.Logger) -> None:
        self.folder, self.options, self.logger = folder, options, logger
        self.retention = (KeepLast(options.keep_last), KeepBest())
        self.store = TensorStore()
        if options.sharded_checkpoint:
            from base import features

            self.store = features.get_serving("sharded_checkpoint")()
        self.seconds = 0.0
        self.last_step = 0
        self._last_time = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._snapshot: dict[str, Any] | None = None  # that the thread writes

    # -- when -----------------------------------------------------------------------------------

    def is_epoch_due(self, epoch: int) -> bool:
        """Whether ``save_period`` asks for a checkpoint after this epoch."""
        return epoch % self.options.save_period == 0

    def is_step_due(self, step: int) -> bool:
        """Whether ``save_steps`` asks for a checkpoint after so many optimizer steps."""
        if self._error is not None:
            self.wait()
        steps = self.options.save_steps
        return steps is not None and step - self.last_step >= steps

    def is_overdue(self) -> bool:
        """Whether ``save_minutes`` asks for one. Ranks may disagree: their clocks differ."""
        minutes = self.options.save_minutes
        return minutes is not None and time.monotonic() - self._last_time >= 60 * minutes

    # -- writing --------------------------------------------------------------------------------

    def save_epoch(
        self,
        make_state: Callable[[], dict[str, Any]],
        epoch: int,
        step: int,
        is_best: bool = False,
        in_series: bool = True,
        best_epochs: list[int] | None = None,
    ) -> None:
        """Writes ``checkpoint-epochN.pt``, and the files of the best epochs if it is one of them.

        Args:
            make_state: gives the state as a plain dict; called when nothing is being written.
            epoch: that has ended.
            step: optimizer steps done.
            is_best: the epoch is the best so far.
            in_series: False for an epoch that is saved only because it is among the best.
            best_epochs: the epochs that are among the best.
        """
        request = SaveRequest(f"checkpoint-epoch{epoch}.pt", is_best, in_series, best_epochs or [])
        self._save(make_state, request, step)

    def save_step(
        self,
        make_state: Callable[[], dict[str, Any]],
        epoch: int,
        step: int,
        best_epochs: list[int] | None = None,
    ) -> None:
        """Writes ``checkpoint-epochN-stepM.pt`` in the middle of epoch N."""
        name = f"checkpoint-epoch{epoch}-step{step}.pt"
        self._save(make_state, SaveRequest(name, best_epochs=best_epochs or []), step)

    def _save(
        self, make_state: Callable[[], dict[str, Any]], request: SaveRequest, step: int
    ) -> None:
        """With ``async_save``, the caller waits only while the state is copied.

        Raises:
            UserError: this checkpoint, or an asynchronous one before it, could not be written.
        """
        self.wait()
        start = time.monotonic()
        activity = set_activity("the saving of a checkpoint")
        state = self._write_tensors(make_state(), self.folder / request.name)
        self.last_step = step
        if not is_main():
            self._last_time = time.monotonic()
        elif not self.options.async_save:
            if self._error is None:
                self._write(state, request)
            self.seconds = max(self.seconds, time.monotonic() - start)
            self._last_time = time.monotonic()
            self.wait()
        else:
            self._last_time = start
            self._snapshot = copy_to_cpu(state, self._snapshot)
            args = (self._snapshot, request, start)
            self._thread = threading.Thread(target=self._write, args=args)
            self._thread.start()
        broadcast(None)  # the other ranks wait for the main one; its failure ends them too
        set_activity(activity)

    def measure(self, state: dict[str, Any]) -> None:
        """Measures the seconds of a save, of which nothing is kept."""
        start = time.monotonic()
        trial = self.folder / ".measured.tmp"
        state = self._write_tensors(state, trial)
        if self._error is not None or not is_main():
            self.wait()
            return
        save(state, trial)
        trial.unlink()
        remove_unused_files(self.folder)
        self.seconds = time.monotonic() - start

    def _write_tensors(self, state: dict[str, Any], path: Path) -> dict[str, Any]:
        """Lets the store write the tensors; all ranks call it. An error is raised by ``wait``."""
        try:
            return self.store.write(state, path)
        except UserError as error:
            self._error = error
            return state

    def _write(
        self, state: dict[str, Any], request: SaveRequest, start: float | None = None
    ) -> None:
        path, epoch = self.folder / request.name, state["epoch"]
        targets = [path] if request.in_series else []
        is_epoch_end = "within" not in state
        if self.options.keep_best > 1 and is_epoch_end and epoch in request.best_epochs:
            targets.append(self.folder / best_name(epoch))
        if request.is_best:
            targets.append(self.folder / BEST)
        try:
            save(state, targets[0])
            for target in targets[1:]:
                duplicate(targets[0], target)
            for policy in self.retention:
                for old in policy.find_obsolete(self.folder, path, request.best_epochs):
                    old.unlink(missing_ok=True)
        except OSError as error:
            reason = f"the checkpoint could not be written: {error.strerror}"
            self._error = UserError(f"{path}: {reason}")
        except Exception as error:  # a thread would lose it
            self._error = error
        with contextlib.suppress(OSError):  # what is left over now is deleted the next time
            remove_unused_files(self.folder)
        if start is not None:
            self.seconds = max(self.seconds, time.monotonic() - start)

    def wait(self) -> None:
        """Waits until everything is on the disk.

        Raises:
            UserError: it could not be written, and ``on_save_error`` says to stop.
        """
        # A signal may have interrupted the start of the thread.
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is None:
            return
        if self.options.on_save_error == "stop" or not isinstance(error, UserError):
            raise error
        self.logger.warning("%s; going on without it, as trainer.on_save_error says", error)

    # -- resuming -------------------------------------------------------------------------------

    def resume_at(self, path: Path, step: int, best_epochs: list[int]) -> None:
        """Puts the folder in order for a run that continues from ``path``.

        ``model_best.pt`` and its like become those of the checkpoint's time: a kill may have come
        before they were written, or the run goes back.

        Raises:
            UserError: the folder may not be written to.
        """
        self.last_step = step
        if not is_main():
            return
        try:
            remove_unused_files(self.folder)
            if not best_epochs or path.parent != self.folder:
                return
            if self.options.keep_best > 1:
                self._restore_best_files(best_epochs)
            for name in (best_name(best_epochs[0]), f"checkpoint-epoch{best_epochs[0]}.pt"):
                if (self.folder / name).is_file():
                    duplicate(self.folder / name, self.folder / BEST)
                    return
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written to: {error.strerror}") from None

    def _restore_best_files(self, best_epochs: list[int]) -> None:
        for epoch in best_epochs:
            path = self.folder / f"checkpoint-epoch{epoch}.pt"
            if path.is_file():
                duplicate(path, self.folder / best_name(epoch))


def copy_to_cpu(value: Any, earlier: Any = None) -> Any:
    """A copy of a state in the CPU's memory, which no later step changes.

    Args:
        value: nested dicts, lists, tensors and plain values.
        earlier: a copy whose memory is used again where shapes are equal: getting new memory
            takes longer than copying into it.
    """
    if isinstance(value, torch.Tensor):
        if isinstance(earlier, torch.Tensor) and (earlier.shape, earlier.dtype) == (
            value.shape,
            value.dtype,
        ):
            return earlier.copy_(value.detach())
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        known = earlier if isinstance(earlier, dict) else {}
        return {key: copy_to_cpu(item, known.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(copy_to_cpu, value))
    return value
