"""Work off the training's thread: what fails or hangs there costs a warning, and no training."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

CALLS = 10_000  # that may wait; more means that it cannot keep up


class Background:
    """Runs calls one after the other in a thread of their own; the first one that fails or hangs is the last.

    Args:
        name: of what is called, for the warning.
        logger: gets the warning.
        patience: seconds that a call may take while somebody waits for it.
    """

    def __init__(self, name: str, logger: logging.Logger, patience: float = 10.0) -> None:
        self.name, self.logger, self.patience = name, logger, patience
        self.enabled = True
        self._calls: queue.Queue[tuple[str, Callable[[], object]]] = queue.Queue(CALLS)
        self._thread: threading.Thread | None = None
        self._finished = time.monotonic()  # the last call
        self._giving_up = threading.Lock()

    @property
    def started(self) -> bool:
        return self._thread is not None

    def attempt(self, what: str, call: Callable[[], object]) -> None:
        """Runs ``call`` here and now; a failure is one of the background's."""
        try:
            call()
        except Exception as error:
            self._give_up(what, str(error))

    def do(self, what: str, call: Callable[[], object]) -> None:
        """Has ``call`` run after those before it; ``what`` names it in a warning."""
        if not self.enabled:
            return
        try:
            self._calls.put_nowait((what, call))
        except queue.Full:
            self._give_up(what, "it does not keep up")
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, daemon=True
            )  # a hanging one is left behind
            self._thread.start()

    def _run(self) -> None:
        while True:
            what, call = self._calls.get()
            if what == "end" or not self.enabled:
                return
            self.attempt(what, call)
            self._finished = time.monotonic()

    def wait(self) -> None:
        """Until all is done, or nothing has been for longer than the patience."""
        done = threading.Event()
        self.do("flush", done.set)
        start = time.monotonic()
        while self.enabled and not done.wait(0.05):
            if time.monotonic() - max(start, self._finished) > self.patience:
                self._give_up("flush", f"nothing moved for {self.patience:g} s")

    def close(self) -> None:
        """Waits, and ends the thread; it may be used again."""
        if self._thread is None:
            return
        self.wait()
        self.do("end", str)
        if self.enabled:
            self._thread.join(self.patience)
        self._thread = None

    def _give_up(self, what: str, why: str) -> None:
        with self._giving_up:
            if self.enabled:  # until it is said: who waits for the thread goes on when it is not
                self.logger.warning("%s is off from here on: %s failed (%s)", self.name, what, why)
            self.enabled = False
