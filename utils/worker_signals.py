"""Signals in processes that a run has started, such as the workers of a data loader."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from utils.stop import SIGNALS


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Delays SIGTERM and SIGUSR1 until the context ends.

    Processes that are started in it must call ``outlive_signals``.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def outlive_signals() -> None:
    """Lets this process ignore the signals that ask its parent to stop, while the parent lives.

    It installs a handler, because programs that this process starts would inherit ``SIG_IGN``.
    """
    parent_pid = os.getppid()

    def receive(number: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent_pid:
            os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, receive)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
