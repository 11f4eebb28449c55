"""What happens if the workers of a data loader cannot start."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

from utils.errors import UserError, one_line


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
