"""Link: connects a run with the program that has started it, such as a search.

The run sends the numbers of each validation, and waits for the answer: go on, or stop. If the
program ends, also by ``kill -9``, the run knows it at once. Both ends send lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

VARIABLE = "PLAINLOOP_LINK"  # of the environment: the port and the key
HOST = "127.0.0.1"
GO_ON = ""  # the answer; any other text is the reason to stop
FAILURE = "an error of the search"
SECONDS_TO_CLOSE = 0.2  # in which a server notices that it is closed
SECONDS_TO_LOG_IN = 10.0


class Link:
    """The run's end of the connection.

    Args:
        port: where the program listens.
        key: proves that the program has started this process.

    Attributes:
        is_lost: whether the program has ended.
    """

    def __init__(self, port: int, key: str) -> None:
        self.is_lost = False
        self._answers: SimpleQueue[str] = SimpleQueue()
        try:
            self._socket = socket.create_connection((HOST, port))
            # A worker of a data loader may outlive this process for a while.
            os.register_at_fork(after_in_child=self._socket.close)
            self._send(key)
        except OSError:
            self.is_lost = True
            return
        threading.Thread(target=self._receive, name="link", daemon=True).start()

    @classmethod
    def from_environment(cls) -> Link | None:
        """Connects the main rank, if the program that has started this run listens."""
        port, _, key = os.environ.get(VARIABLE, "").partition(":")
        if not port.isdecimal() or os.environ.get("RANK", "0") != "0":
            return None
        return cls(int(port), key)

    def ask(self, numbers: dict[str, Any]) -> str:
        """Sends numbers, and returns the answer: ``GO_ON``, or the reason to stop.

        If the program has ended, the answer is ``GO_ON``, and ``is_lost`` is true.
        """
        if self.is_lost:
            return GO_ON
        with contextlib.suppress(OSError):  # the thread notices it
            self._send(numbers)
        return self._answers.get()

    def _send(self, message: Any) -> None:
        self._socket.sendall(json.dumps(message, default=str).encode() + b"\n")

    def _receive(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                self._answers.put(json.loads(line))
        self.is_lost = True
        self._answers.put(GO_ON)


class LinkServer:
    """The program's end of the connection with one run, as a context.

    Args:
        answer: gets the numbers of a validation; returns ``GO_ON`` or the reason to stop. It runs
            in a thread. If it raises an error, the error is kept, and the run stops.

    Attributes:
        environment: the variable that the run needs.
        reason: the last answer.
        error: what ``answer`` has raised.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str]) -> None:
        self.reason = GO_ON
        self.error: Exception | None = None
        self._answer = answer
        self._key = secrets.token_hex(16)
        self._socket = socket.create_server((HOST, 0))
        self._socket.settimeout(SECONDS_TO_CLOSE)
        self._thread = threading.Thread(target=self._serve, name="link server", daemon=True)
        self._connection: socket.socket | None = None
        self._is_closed = False
        self.environment = {VARIABLE: f"{self._socket.getsockname()[1]}:{self._key}"}

    def __enter__(self) -> LinkServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):  # Linux wakes the thread; elsewhere it has a timeout
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._connection is not None:
            with contextlib.suppress(OSError):  # the run has closed it
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_closed:
            with contextlib.suppress(OSError, ValueError):  # also that nobody has called yet
                self._connection, _ = self._socket.accept()
                with self._connection, self._connection.makefile("rb") as lines:
                    self._talk(self._connection, lines)

    def _talk(self, connection: socket.socket, lines: Any) -> None:
        """Answers the run until it ends. Another program on this machine does not have the key."""
        connection.settimeout(SECONDS_TO_LOG_IN)
        if json.loads(lines.readline()) != self._key:
            return
        connection.settimeout(None)
        for line in lines:
            answer = self._respond(json.loads(line))
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def _respond(self, numbers: dict[str, Any]) -> str:
        try:
            self.reason = self._answer(numbers)
        except Exception as error:
            self.error = error
            self.reason = FAILURE
        return self.reason
