"""Requests to stop: a signal or a time limit sets a flag, at which a loop looks where it can stop well."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from math import inf
from typing import Any

AGAIN = 75  # the status for "run me again" (EX_TEMPFAIL of sysexits.h)
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": AGAIN}


class StopRequest:
    """What ``with stop.listening():`` hears.

    Args:
        minutes: after which to stop, from now on; None for no limit.

    Attributes:
        status: the exit status that the reason asks for; 0 as long as nobody asked.
        reason: in words.
        reserve: seconds that are to be left of the time limit when it is told.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.status, self.reason, self.reserve = 0, "", 0.0
        self._end = inf if minutes is None else time.monotonic() + 60 * minutes

    def requested(self) -> bool:
        """Whether somebody asked. Costs less than a microsecond."""
        if not self.status and time.monotonic() + self.reserve >= self._end:
            self.status, self.reason = AGAIN, "the time limit"
        return self.status != 0

    def withdraw(self) -> None:
        """Forgets the request, so that the loop can be entered again (in a notebook)."""
        self.status, self.reason = 0, ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears signals inside, in the main thread, but those for which the program has a handler of its own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        usual = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [getattr(signal, name) for name in STATUS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._hear) for number in numbers if signal.getsignal(number) in usual}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _frame: Any) -> None:
        name = signal.Signals(number).name
        if self.status and name == "SIGINT":
            raise KeyboardInterrupt  # the second Ctrl-C leaves at once
        self.status, self.reason = STATUS[name], name
