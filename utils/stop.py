"""Requests to stop: a signal or a time limit sets a flag, at which a loop looks where it can stop well."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from math import inf
from typing import Any

EXIT_RUN_AGAIN = 75  # the status for "run me again" (EX_TEMPFAIL of sysexits.h)
EXIT_STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": EXIT_RUN_AGAIN}


class StopRequest:
    """What ``with stop.listening():`` hears.

    Args:
        minutes: after which to stop, from now on; None for no limit.
        votes: of the ranks that train together: what one of them hears counts once all know of it.

    Attributes:
        status: the exit status that the reason asks for; 0 as long as nobody asked.
        reason: in words.
        reserve: seconds that are to be left of the time limit when it is told.
    """

    def __init__(self, minutes: float | None = None, votes: Any = None) -> None:
        self.status, self.reason, self.reserve = 0, "", 0.0
        self._heard, self._votes, self._parent = (0, ""), votes, os.getppid()
        self._end = inf if minutes is None else time.monotonic() + 60 * minutes

    def requested(self) -> bool:
        """Whether somebody asked. Costs less than a microsecond."""
        if self._votes is None and not self.status:
            self.status, self.reason = self._look()
        return self.status != 0

    def poll(self, overdue: bool = False, wait: bool = False) -> bool:
        """Lets the ranks know of each other's requests; all must call it at the same places.

        Args:
            overdue: something else that one of them wants and all must do.
            wait: until it is known; otherwise it will be at the next call.

        Returns:
            Whether one of them said ``overdue``.
        """
        if self._votes is None:
            return overdue
        status, reason = self._look()
        agreed, anyone = self._votes.cast(status, int(overdue), wait=wait)
        if agreed and not self.status:
            names = {code: name for name, code in EXIT_STATUS.items()}
            self.status = agreed
            self.reason = (
                reason if status == agreed else f"{names[agreed]} or a time limit, on another rank"
            )
        return bool(anyone)

    def _look(self) -> tuple[int, str]:
        if not self._heard[0] and time.monotonic() + self.reserve >= self._end:
            self._heard = EXIT_RUN_AGAIN, "the time limit"
        if not self._heard[0] and self._votes is not None and os.getppid() != self._parent:
            self._heard = EXIT_STATUS["SIGTERM"], "the end of the launcher"
        return self._heard

    def withdraw(self) -> None:
        """Forgets the request, so that the loop can be entered again (in a notebook)."""
        self._heard = self.status, self.reason = 0, ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears signals inside, in the main thread, but those for which the program has a handler of its own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        usual = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [getattr(signal, name) for name in EXIT_STATUS if hasattr(signal, name)]
        before = {
            number: signal.signal(number, self._hear)
            for number in numbers
            if signal.getsignal(number) in usual
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _frame: Any) -> None:
        name = signal.Signals(number).name
        if self._heard[0] and name == "SIGINT":
            raise KeyboardInterrupt  # the second Ctrl-C leaves at once
        self._heard = EXIT_STATUS[name], name
        if self._votes is None:
            self.status, self.reason = self._heard
