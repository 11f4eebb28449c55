"""Work in a background thread. If it fails or hangs, the training logs a warning and goes on."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable

MAX_WAITING_CALLS = 10_000
Call = Callable[[], object]


class Background:
    """Runs calls one after another in a thread. The first call that fails or hangs is the last.

    Args:
        name: names this worker in the warning, e.g. ``TensorBoard``.
        logger: gets the warning.
        patience_seconds: the longest time that ``wait`` accepts without a finished call.

    Attributes:
        enabled: False after the first failure; every method then does nothing.
    """

    def __init__(self, name: str, logger: logging.Logger, patience_seconds: float = 10.0) -> None:
        self.name = name
        self.logger = logger
        self.patience_seconds = patience_seconds
        self.enabled = True
        self._calls: queue.Queue[tuple[str, Call | None]] = queue.Queue(MAX_WAITING_CALLS)
        self._thread: threading.Thread | None = None
        self._last_finished = time.monotonic()
        self._giving_up = threading.Lock()

    @property
    def started(self) -> bool:
        """Whether a call has been submitted since the last ``close``."""
        return self._thread is not None

    def attempt(self, action: str, call: Call) -> None:
        """Runs ``call`` in the thread of the caller. A failure disables this worker.

        Args:
            action: names the call in the warning.
            call: takes no arguments; its result is ignored.
        """
        try:
            call()
        except Exception as error:
            self._give_up(action, str(error))

    def submit(self, action: str, call: Call | None) -> None:
        """Queues ``call`` and returns at once. None ends the thread."""
        if not self.enabled:
            return
        try:
            self._calls.put_nowait((action, call))
        except queue.Full:
            self._give_up(action, f"{MAX_WAITING_CALLS:,} calls are waiting")
            return
        if self._thread is None:
            # A daemon, because a thread that hangs must not keep the program from ending.
            self._thread = threading.Thread(target=self._run, daemon=True)
            # When Python ends, it kills a thread that is inside torch, and that aborts the program.
            atexit.register(self._close_at_exit)
            self._thread.start()

    def _run(self) -> None:
        while True:
            action, call = self._calls.get()
            if call is None or not self.enabled:
                return
            self.attempt(action, call)
            self._last_finished = time.monotonic()

    def wait(self) -> None:
        """Blocks until all calls are done, or until none has finished for ``patience_seconds``."""
        done = threading.Event()
        self.submit("flush", done.set)
        start = time.monotonic()
        while self.enabled and not done.wait(0.05):
            if time.monotonic() - max(start, self._last_finished) > self.patience_seconds:
                self._give_up("flush", f"nothing moved for {self.patience_seconds:g} s")

    def close(self) -> None:
        """Waits for the calls and ends the thread. The next ``submit`` starts a new one."""
        if self._thread is None:
            return
        self.wait()
        self.submit("close", None)
        if self.enabled:
            self._thread.join(self.patience_seconds)
        self._thread = None
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        if self._thread is not None and self._thread.is_alive():  # False in a forked process
            self.close()

    def _give_up(self, action: str, reason: str) -> None:
        with self._giving_up:
            # The warning comes first, because `wait` returns as soon as `enabled` is False.
            if self.enabled:
                self.logger.warning(
                    "%s is off from here on: %s failed (%s)", self.name, action, reason
                )
            self.enabled = False
