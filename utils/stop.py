"""Requests to stop a run: a signal or a time limit. The loop checks them where it can stop.

Before and after the loop there is nothing to save, and a signal ends the program at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from math import inf
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from utils.world import LOST_LAUNCHER, has_lost_launcher, stop_watching

if TYPE_CHECKING:
    from utils.link import Link

EXIT_RUN_AGAIN = 75  # the status that means "run me again" (EX_TEMPFAIL in sysexits.h)
EXIT_STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": EXIT_RUN_AGAIN}
SIGNALS = [getattr(signal, name) for name in EXIT_STATUS if hasattr(signal, name)]
SECONDS_TO_END = 2.0  # the time in which the program obeys a signal, and ignores further ones
SECONDS_TO_REPEAT = 0.1  # until a signal is sent again whose exception was dropped
SECONDS_OF_FORWARDING = 0.25  # in which a second SIGINT is the launcher's copy of the first


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


class StopProgram(SystemExit):
    """Ends the program with the status of a request, because nothing is left to save."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.status)
        self.status, self.reason = request


class _Program:
    """The signals that arrive outside of a training loop.

    Attributes:
        request: the one that raised a ``StopProgram``, which some code may have caught.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.request = NO_REQUEST
        self.pid = os.getpid()
        self._time = -inf  # of the last signal

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if is_in_fork(self.pid, number):
            return
        last_time, self._time = self._time, time.monotonic()
        # Batch systems repeat their signals. The first one is still being handled.
        if self._time - last_time > SECONDS_TO_END:
            name = signal.Signals(number).name
            self.request = Request(EXIT_STATUS[name], name)
            raise StopProgram(self.request)

    def repeat_dropped(self, dropped: sys.UnraisableHookArgs) -> None:
        """Sends a signal again whose exception Python has dropped, as in a ``__del__``."""
        is_stop = issubclass(dropped.exc_type, StopProgram | KeyboardInterrupt)
        if not is_stop or os.getpid() != self.pid:
            sys.__unraisablehook__(dropped)
            return
        self._time = -inf
        is_interrupt = issubclass(dropped.exc_type, KeyboardInterrupt)
        name = "SIGINT" if is_interrupt else self.request.reason
        timer = threading.Timer(SECONDS_TO_REPEAT, self._send, [getattr(signal, name)])
        timer.daemon = True
        timer.start()

    def _send(self, number: int) -> None:
        if sys.unraisablehook == self.repeat_dropped:  # the program has not ended
            os.kill(self.pid, number)


_program = _Program()


def get_program_request() -> Request:
    """The request that has raised a ``StopProgram``, if there was one."""
    return _program.request


@contextlib.contextmanager
def stop_on_signals(ends_program: bool = False) -> Iterator[None]:
    """Raises ``StopProgram`` for SIGTERM and SIGUSR1 while the context lasts.

    Ctrl-C raises Python's KeyboardInterrupt. A training loop receives the signals itself.

    Args:
        ends_program: whether the program ends after the context. If a request has ended it, further
            signals are ignored, because they would change the exit status.
    """
    _program.begin()
    is_main = threading.current_thread() is threading.main_thread()
    previous = {
        number: signal.signal(number, _program.receive)
        for number in (SIGNALS if is_main else [])
        if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_DFL
    }
    hook, sys.unraisablehook = sys.unraisablehook, _program.repeat_dropped
    try:
        yield
    except SystemExit as end:
        if ends_program and end.code in EXIT_STATUS.values():
            previous = dict.fromkeys(previous, signal.SIG_IGN)
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in previous.items():
            if signal.getsignal(number) == _program.receive:
                signal.signal(number, handler)


def is_in_fork(pid: int, number: int) -> bool:
    """Whether a handler of the process ``pid`` runs in a fork of it, for which it is not meant.

    There, SIGTERM ends the process, as ``multiprocessing`` expects.
    """
    if os.getpid() == pid:
        return False
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return True


def _connect() -> Link | None:
    """Connects with the program that has started this run, if it listens."""
    from utils.link import Link

    return Link.from_environment()


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
        self._time = -inf  # of the first signal
        self._received = NO_REQUEST  # by this process; another rank may not know of it
        self._votes = votes
        self._link = _connect()
        self._pid = os.getpid()
        self._minutes = inf if minutes is None else minutes
        self._end = time.monotonic() + 60 * self._minutes

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
        elif self._votes is not None and has_lost_launcher():
            # Without its launcher, a rank would train on, and no signal would reach it.
            self._received = Request(EXIT_STATUS["SIGTERM"], LOST_LAUNCHER)
        elif self._link is not None and self._link.is_lost:
            self._received = Request(EXIT_STATUS["SIGTERM"], "the end of the search")
        return self._received

    def consult(self, numbers: dict[str, Any]) -> None:
        """Tells the program that has started this run the numbers of a validation, if it listens.

        Its answer may be a request to stop. This process waits for the answer.
        """
        if self._link is None or self.status:
            return
        if reason := self._link.ask(numbers):
            self._received = Request(EXIT_STATUS["SIGTERM"], reason)

    def reserve_for_save(self, seconds: float) -> None:
        """Keeps time for the next save, which may take twice the ``seconds`` of the last one."""
        self.reserve = max(self.reserve, 2 * seconds + 1)

    def withdraw(self) -> None:
        """Forgets the request, so that a notebook can train on. A time limit begins again."""
        if self._received is not NO_REQUEST:
            self._end = time.monotonic() + 60 * self._minutes
        self._received = NO_REQUEST
        self.status, self.reason = NO_REQUEST

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Receives signals while the context lasts, in the main thread only.

        A signal for which the program has a handler, or that it ignores, stays with the program.
        """
        stop_watching()  # from now on, `poll` asks for the launcher
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._pid = os.getpid()
        if _program.request is not NO_REQUEST:
            self._receive(getattr(signal, _program.request.reason), None)
        defaults = (signal.SIG_DFL, signal.default_int_handler, _program.receive)
        previous = {
            number: signal.signal(number, self._receive)
            for number in SIGNALS
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
        if is_in_fork(self._pid, number):
            return
        name = signal.Signals(number).name
        if self._received is not NO_REQUEST and name == "SIGINT":
            if self._votes is not None and time.monotonic() - self._time < SECONDS_OF_FORWARDING:
                return  # the launcher has forwarded the signal that this rank got already
            raise KeyboardInterrupt  # the second Ctrl-C ends the program at once
        self._received, self._time = Request(EXIT_STATUS[name], name), time.monotonic()
        if self._votes is None:
            self.status, self.reason = self._received
