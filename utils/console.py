"""Makes standard output and error safe: a failed write does not end the program."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any

PATIENCE_SECONDS = 1.0  # for the reader of a pipe that is full and does not block


def prepare_console() -> None:
    """Opens closed standard streams, and makes them print ``?`` for unsupported letters."""
    if os.name == "posix":
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:
                # The next file would get this number, and a library's output would end in it.
                os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def keep_console() -> None:
    """From now on, standard output and error drop what they cannot write.

    The reader of a run may leave (`| head`), its disk may fill up, and its terminal may close. That
    is no reason to end a training.
    """
    if sys.stdout is sys.__stdout__:  # a notebook, for example, has its own
        sys.stdout = _make_unfailing(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _make_unfailing(sys.stderr)


def _make_unfailing(stream: Any) -> Any:
    """A stream like ``stream`` that writes to the same file; one without a file stays."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    file: Any = _UnfailingFile(number)
    is_unbuffered = stream.write_through  # PYTHONUNBUFFERED; a bar and its lines stay in order
    return io.TextIOWrapper(
        file if is_unbuffered else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _UnfailingFile(io.RawIOBase):
    """A file, by its number, that accepts all bytes and drops those that it cannot write."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._patience = PATIENCE_SECONDS

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        rest = memoryview(data).cast("B")
        size = len(rest)
        with contextlib.suppress(OSError):
            while rest:
                try:
                    rest = rest[os.write(self._number, rest) :]
                    self._patience = PATIENCE_SECONDS
                except BlockingIOError:
                    if not select.select([], [self._number], [], self._patience)[1]:
                        self._patience = 0.0  # nobody reads; do not wait for each line
                        break
        return size
