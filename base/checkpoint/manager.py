"""When a run's checkpoints are written, which are kept, and what a failure to write one means."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from base.checkpoint.file import duplicate, prune, save
from base.loop.monitor import is_better
from base.options import TrainerOptions
from utils.checkpoints import BEST, checkpoint_number, sweep_shards
from utils.distributed import broadcast, is_main, set_activity
from utils.errors import UserError


class Saver:
    """Writes the checkpoints of one run folder; of several ranks the main one does.

    Args:
        folder: of the run.
        options: save_steps, save_minutes, keep_last, keep_best, async_save, sharded_checkpoint, on_save_error.
        logger: is told of a failure, where the run goes on.

    Attributes:
        best: the value and the epoch of the ``keep_best`` best, the best first.
        seconds: what the slowest save took.
        steps: the optimizer steps that were done at the last checkpoint.
    """

    def __init__(self, folder: Path, options: TrainerOptions, logger: logging.Logger) -> None:
        self.folder, self.options, self.logger = folder, options, logger
        self.best: list[tuple[float, int]] = []
        self.seconds = 0.0
        self.steps, self._time = 0, time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._copy: dict[str, Any] | None = None  # that the thread writes

    def is_due(self, count: Callable[[], int]) -> bool:
        """Whether ``save_steps`` wants a checkpoint after the optimizer steps that ``count`` tells."""
        if self._error is not None:
            self.wait()
        wanted = self.options.save_steps
        return wanted is not None and count() - self.steps >= wanted

    def is_overdue(self) -> bool:
        """Whether ``save_minutes`` wants one."""
        options = self.options
        return (
            options.save_minutes is not None
            and time.monotonic() - self._time >= 60 * options.save_minutes
        )

    def measure(self, state: dict[str, Any]) -> None:
        """Takes the time of a save, of which nothing is kept."""
        start, trial = time.monotonic(), self.folder / ".measured.tmp"
        state = self._without_shards(state, trial)
        if self._error is not None or not is_main():
            self.wait()
            return
        save(state, trial)
        trial.unlink()
        sweep_shards(self.folder)
        self.seconds = time.monotonic() - start

    def enter_best(self, mode: str, value: float, epoch: int) -> None:
        """Gives an epoch its place among the best."""
        place = sum(not is_better(mode, value, other) for other, _ in self.best)
        self.best.insert(place, (value, epoch))
        del self.best[self.options.keep_best :]

    def save(
        self,
        make_state: Callable[[], dict[str, Any]],
        name: str,
        steps: int,
        best: bool = False,
        only: bool = False,
    ) -> None:
        """Writes a checkpoint; ``async_save`` holds the caller only while the state is copied.

        Args:
            make_state: gives the state, which has the epoch.
            name: of the file.
            steps: optimizer steps done.
            best: it is the best so far.
            only: it is written because it is among the best, and is none of the run's series.

        Raises:
            UserError: this one, or an asynchronous one before it, could not be written.
        """
        self.wait()
        start = time.monotonic()
        before = set_activity("the saving of a checkpoint")
        state = self._without_shards(make_state(), self.folder / name)
        self.steps = steps
        if not is_main():
            self._time = time.monotonic()
        elif not self.options.async_save:
            if self._error is None:
                self._write(state, name, best, only)
            self.seconds = max(self.seconds, time.monotonic() - start)
            self._time = time.monotonic()
            self.wait()
        else:
            self._time = start
            self._copy = snapshot(state, self._copy)
            self._thread = threading.Thread(
                target=self._write, args=(self._copy, name, best, only, start)
            )
            self._thread.start()
        broadcast(None)  # the other ranks wait, with patience; what fails here ends them too
        set_activity(before)

    def _without_shards(self, state: dict[str, Any], path: Path) -> dict[str, Any]:
        """What is left for ``path``, once each rank has written its part of a model that is cut. All call alike."""
        if not self.options.sharded_checkpoint:
            return state
        from base.checkpoint.sharded import write_shards

        try:
            return write_shards(state, path)
        except UserError as error:
            self._error = error
            return state

    def _write(
        self, state: dict[str, Any], name: str, best: bool, only: bool, start: float | None = None
    ) -> None:
        epoch = state["epoch"]
        path, own = self.folder / name, self.folder / BEST.replace(".", f"-epoch{epoch}.")
        places = [] if only else [path]
        if (
            self.options.keep_best > 1
            and "within" not in state
            and epoch in [epoch for _, epoch in self.best]
        ):
            places.append(own)
        if best:
            places.append(self.folder / BEST)
        try:
            save(state, places[0])
            for place in places[1:]:
                duplicate(places[0], place)
            prune(self.folder, self.options.keep_last, newest=checkpoint_number(path))
            self._prune_best()
        except OSError as error:
            self._error = UserError(
                f"{path}: the checkpoint could not be written: {error.strerror}"
            )
        except Exception as error:  # of a thread it would be lost
            self._error = error
        sweep_shards(self.folder)
        if start is not None:
            self.seconds = max(self.seconds, time.monotonic() - start)

    def _prune_best(self) -> None:
        kept = {BEST, *(BEST.replace(".", f"-epoch{epoch}.") for _, epoch in self.best)}
        for path in self.folder.glob(BEST.replace(".", "*.")):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def wait(self) -> None:
        """Until what is being written is on the disk. Raises UserError if it could not be, and the run shall stop."""
        if (
            self._thread is not None and self._thread.ident is not None
        ):  # a killed worker may have interrupted its start
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is None:
            return
        if self.options.on_save_error == "stop" or not isinstance(error, UserError):
            raise error
        self.logger.warning("%s; going on without it, as trainer.on_save_error says", error)


def snapshot(value: Any, before: Any = None) -> Any:
    """A copy of a state in the CPU's memory, which no later step changes.

    Args:
        before: an earlier copy, whose memory is used again where the tensors' shapes are the same: to get new memory
            takes longer than to copy into it.
    """
    if isinstance(value, torch.Tensor):
        if isinstance(before, torch.Tensor) and (before.shape, before.dtype) == (
            value.shape,
            value.dtype,
        ):
            return before.copy_(value.detach())
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        earlier = before if isinstance(before, dict) else {}
        return {key: snapshot(item, earlier.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(snapshot, value)) if not hasattr(value, "_fields") else value
    return value
