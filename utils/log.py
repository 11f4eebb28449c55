"""The loggers of a run. Wrong log calls and libraries neither stop nor silence them."""

from __future__ import annotations

import functools
import logging
import sys

from utils.errors import name_error, text_of

MAX_CHARS_SHOWN = 100  # of an argument
RUN_LOGGERS = ("cache", "data_loader", "device", "metrics", "run", "test", "train", "trainer")

_run_handlers: list[logging.Handler] = []
_lowest_level = logging.NOTSET


class SafeRecord(logging.LogRecord):
    """A record that always has a text, also if its arguments do not fit or cannot be printed."""

    def getMessage(self) -> str:  # noqa: N802
        try:
            return super().getMessage()
        except Exception as error:
            values = self.args if isinstance(self.args, tuple) else (self.args,)
            arguments = ", ".join(text_of(value)[:MAX_CHARS_SHOWN] for value in values)
            reason = f"{self.filename}:{self.lineno} cannot be logged: {name_error(error)}"
            return f"{text_of(self.msg)} {arguments} ({reason})"


class RunLogger(logging.Logger):
    """A logger whose lines reach the handlers of the run, whatever a library does to logging.

    ``logging.disable``, ``logging.config.dictConfig``, ``basicConfig(force=True)`` and
    ``propagate = False`` have no effect on it.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return level >= max(_lowest_level, self.getEffectiveLevel())

    def handle(self, record: logging.LogRecord) -> None:
        self.disabled = False
        logger: logging.Logger | None = self
        while logger is not None:
            logger.propagate = True
            logger = logger.parent
        if logging.getLogger().handlers[: len(_run_handlers)] != _run_handlers:
            set_run_handlers(_run_handlers)
        try:
            super().handle(record)
        except Exception as error:  # of a handler that is not ours
            _print_once(f"A log handler has failed: {name_error(error)}")


@functools.cache
def _print_once(line: str) -> None:
    print(line, file=sys.stderr)


def get_logger(name: str, level: int) -> logging.Logger:
    """Returns a logger; where nothing has set up logging yet, it prints plain lines."""
    logging.setLogRecordFactory(SafeRecord)
    if not logging.getLogger().handlers:
        logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
    logger = logging.getLogger(name)
    if type(logger) is logging.Logger:
        logger.__class__ = RunLogger
    logger.setLevel(level)
    return logger


def get_run_handlers() -> list[logging.Handler]:
    """The handlers that get the lines of the run."""
    return list(_run_handlers)


def set_run_handlers(handlers: list[logging.Handler]) -> None:
    """Makes ``handlers`` the first ones of the root logger, because others may fail."""
    root = logging.getLogger()
    others = [handler for handler in root.handlers if handler not in (*_run_handlers, *handlers)]
    _run_handlers[:] = handlers
    root.handlers = [*handlers, *others]


def mute(level: int) -> None:
    """Turns off all lines up to ``level`` in this process, as ``logging.disable`` does."""
    global _lowest_level
    _lowest_level = level + 1
    logging.disable(level)
