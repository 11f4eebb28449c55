"""Requests to stop a run: a signal or a time limit. The loop checks them where it can stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from math import inf
from types import FrameType
from typing import NamedTuple, Protocol

EXIT_RUN_AGAIN = 75  # the status that means "run me again" (EX_TEMPFAIL in sysexits.h)
EXIT_STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": EXIT_RUN_AGAIN}


class Request(NamedTuple):
    """A request to stop: the exit status that it leads to (0 for no request), and the reason."""

    status: int
    reason: str


NO_REQUEST = Request(0, "")


class Ballot(Protocol):
    """How ranks agree on numbers; ``utils.distributed.Votes`` is one."""

    def cast(self, *numbers: int, wait: bool = False) -> list[int]:
        """The largest of the ranks' numbers: in the call before and, if ``wait``, in this one."""


class StopTraining(Exception):  # noqa: N818
    """Ends a loop whose checkpoint is written."""


class StopRequest:
    """The requests to stop that arrive in ``with stop.listening():``.

    A single process obeys a request at once. Several ranks obey it as soon as all of them know it
    from ``poll``.

    Args:
        minutes: the time limit of the run, from now on; None for no limit.
        votes: how the ranks agree; None for a single process.

    Attributes:
        status: the exit status that the request leads to; 0 as long as there is none.
        reason: the reason in words.
        reserve: the seconds of the time limit that are kept for saving.
    """

    def __init__(self, minutes: float | None = None, votes: Ballot | None = None) -> None:
        self.status = 0
        self.reason = ""
        self.reserve = 0.0
        self._received = NO_REQUEST  # by this process; another rank may not know of it
        self._votes = votes
        self._parent_pid = os.getppid()
        self._end = inf if minutes is None else time.monotonic() + 60 * minutes

    def requested(self) -> bool:
        """Whether the run has to stop. Costs less than a microsecond."""
        if self._votes is None and not self.status:
            self.status, self.reason = self._check()
        return self.status != 0

    def poll(self, overdue: bool = False, wait: bool = False) -> bool:
        """Exchanges the requests of the ranks. All ranks must call it after the same steps.

        Args:
            overdue: whether a checkpoint is overdue on this rank. Then all ranks must write one.
            wait: wait for the other ranks' requests; otherwise they are known at the next call.

        Returns:
            Whether a checkpoint is overdue on any rank.
        """
        if self._votes is None:
            return overdue
        request = self._check()
        status, any_overdue = self._votes.cast(request.status, int(overdue), wait=wait)
        if status and not self.status:
            names = {code: name for name, code in EXIT_STATUS.items()}
            elsewhere = f"{names[status]} or a time limit, on another rank"
            self.status = status
            self.reason = request.reason if request.status == status else elsewhere
        return bool(any_overdue)

    def _check(self) -> Request:
        """The first request that this process has received, if any."""
        if self._received is not NO_REQUEST:
            return self._received
        if time.monotonic() + self.reserve >= self._end:
            self._received = Request(EXIT_RUN_AGAIN, "the time limit")
        elif self._votes is not None and os.getppid() != self._parent_pid:
            # Without its launcher, a rank would train on, and no signal would reach it.
            self._received = Request(EXIT_STATUS["SIGTERM"], "the end of the launcher")
        return self._received

    def reserve_for_save(self, seconds: float) -> None:
        """Keeps time for the next save, which may take twice the ``seconds`` of the last one."""
        self.reserve = max(self.reserve, 2 * seconds + 1)

    def withdraw(self) -> None:
        """Forgets the request, so that a notebook, for example, can start the training again."""
        self._received = NO_REQUEST
        self.status, self.reason = NO_REQUEST

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Receives signals while the context lasts, in the main thread only.

        A signal for which the program has a handler, or that it ignores, stays with the program.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        defaults = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [getattr(signal, name) for name in EXIT_STATUS if hasattr(signal, name)]
        previous = {
            number: signal.signal(number, self._receive)
            for number in numbers
            if signal.getsignal(number) in defaults
        }
        try:
            yield
        except BaseException:
            if self._votes is not None:
                # If another rank has ended, the launcher sends SIGTERM. Until `report_failure`
                # ignores that, this rank must live to report the error.
                previous.pop(signal.SIGTERM, None)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._received is not NO_REQUEST and name == "SIGINT":
            raise KeyboardInterrupt  # the second Ctrl-C ends the program at once
        self._received = Request(EXIT_STATUS[name], name)
        if self._votes is None:
            self.status, self.reason = self._received
