"""Starts and ends the workers of data loaders, also if they cannot start, or hang."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import pickle
import signal
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from utils.errors import UserError, one_line

loaders: weakref.WeakSet[DataLoader[Any]] = weakref.WeakSet()  # that may have workers
workers: weakref.WeakSet[Any] = weakref.WeakSet()  # their processes


def register_loader(loader: DataLoader[Any]) -> None:
    """Lets ``end_workers`` end the persistent workers of a loader."""
    loaders.add(loader)


def register_workers(batches: Any) -> None:
    """Lets ``end_workers`` kill the workers of an iterator over a loader."""
    workers.update(getattr(batches, "_workers", ()))


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
    """Inside, torch starts workers. If that fails, those that have started are killed.

    They ignore the signal by which multiprocessing ends them, so the program would wait for ever.

    Raises:
        UserError: the dataset cannot be sent to a worker that is not forked.
    """
    others = set(multiprocessing.active_children())
    try:
        yield
    except BaseException as error:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        _silence_unfinished(error)
        is_unsent = isinstance(error, pickle.PicklingError | TypeError | AttributeError)
        if is_unsent and "pickle" in str(error):
            message = "the workers need copies of the dataset and the collate_fn, which cannot be"
            advice = "use num_workers: 0, or on Linux multiprocessing_context: fork"
            message = f"{message} pickled; {advice} ({one_line(error)})"
            raise UserError(message, key="data_loader") from error
        raise


def _silence_unfinished(error: BaseException) -> None:
    """Lets torch's iterator, which ``error`` has left unfinished, print no error at its end."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        iterator: Any = frame.f_locals.get("self")
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown = True


def end_workers() -> None:
    """Ends all workers when a run ends or the program exits.

    Otherwise multiprocessing would kill the persistent ones at the exit, and each would leave a
    temporary folder behind. After an error, the garbage collection of a loader would wait 5 s for
    each worker, because the queue that should end it may be collected first.
    """
    for loader in list(loaders):
        stop_workers(loader)
    kill_workers()


def kill_workers() -> None:
    """Kills the workers that hang in a dataset, because multiprocessing waits for their end."""
    hanging = [worker for worker in workers if worker.is_alive()]
    if not hanging:
        return
    handler = None
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would report them
    for worker in hanging:
        worker.kill()
        worker.join()
    if handler is not None:
        signal.signal(signal.SIGCHLD, handler)


def stop_workers(loader: DataLoader[Any]) -> None:
    """Ends persistent workers. The next pass starts new ones, with new copies of the dataset."""
    iterator: Any = loader._iterator
    if iterator is not None:
        iterator._shutdown_workers()
        loader._iterator = None


atexit.register(end_workers)
