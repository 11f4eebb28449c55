"""Runs code of the framework in a cell, as ``run_main`` does for a program."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from base.notebook.errors import make_run_error
from logger.logger import close_files
from utils.errors import UserError
from utils.log import get_run_handlers, set_run_handlers
from utils.main import BROADCAST
from utils.seed import get_random_state, set_random_state
from utils.stop import EXIT_STATUS

T = TypeVar("T")
_training = threading.RLock()  # of the one thread that trains or evaluates in this process


def pass_on_signal(trainer: object) -> None:
    """Sends this process the signal that has stopped a training, if it was not the stop button.

    SIGTERM, for example, ends a process that has no handler for it.
    """
    reason = getattr(getattr(trainer, "stop", None), "reason", "")
    if reason in EXIT_STATUS and reason != "SIGINT":
        signal.raise_signal(signal.Signals[reason])


def call_in_cell(function: Callable[[], T]) -> T:
    """Returns ``function()``, and leaves the process as it was.

    Raises:
        RunError: what the user can do about an error of ``function``.
    """
    try:
        with _restoring_process():
            return function()
    except Exception as error:
        run_error = make_run_error(error)
        if run_error is None:
            raise
    raise run_error  # out of the block: the old error would keep its tensors


@contextlib.contextmanager
def _restoring_process() -> Iterator[None]:
    """Restores, at its end, what a run changes in its process."""
    with contextlib.ExitStack() as stack:
        for context in (_exclusive, _interruptible, _logging, _warning, _random):
            stack.enter_context(context())
        yield


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Refuses a second thread, because threads have the same random numbers and the same log."""
    if not _training.acquire(blocking=False):
        raise UserError("another thread of this process trains or evaluates; wait for its end")
    try:
        yield
    finally:
        _training.release()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets the training receive the stop button of a kernel that has a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Closes the log of a run at the end, and restores the settings of logging and the streams."""
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    run_handlers, factory = get_run_handlers(), logging.getLogRecordFactory()
    hook, streams = threading.excepthook, (sys.stdout, sys.stderr)
    try:
        yield
    finally:
        close_files()
        set_run_handlers(run_handlers)
        root.handlers = handlers
        root.setLevel(level)
        logging.raiseExceptions = raises
        logging.setLogRecordFactory(factory)
        logging.captureWarnings(False)
        threading.excepthook = hook
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _warning() -> Iterator[None]:
    """Makes a warning of broadcasting an error, as ``run_main`` does, and restores the filters."""
    filters = list(warnings.filters)
    warnings.filterwarnings("error", BROADCAST)
    try:
        yield
    finally:
        warnings.filters[:] = filters  # type: ignore[index]


@contextlib.contextmanager
def _random() -> Iterator[None]:
    """Restores the random numbers, and whether torch and cuDNN are deterministic."""
    state, mode = get_random_state(), torch.get_deterministic_debug_mode()
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        set_random_state(state)
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark = flags
