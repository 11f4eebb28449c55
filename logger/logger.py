"""Python's logging: plain lines on the console, dated lines in info.log."""

from __future__ import annotations

import logging
import logging.config
import sys
import threading
from pathlib import Path
from typing import Any

from logger.progress import get_view
from utils.console import keep_console
from utils.errors import one_line, printable
from utils.log import RUN_LOGGERS, get_logger, get_run_handlers, set_run_handlers
from utils.util import ensure_dir, read_json


class _Console(logging.Handler):
    """Prints lines on standard output, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        view = get_view()
        if view is not None and vars(record).get("is_shown"):
            return
        try:
            lines = self.format(record).expandtabs().split("\n")
            if view is not None and view.show_lines(lines):
                return
            tqdm.write("\n".join(map(printable, lines)), file=sys.stdout)
            sys.stdout.flush()
        except Exception:  # the next line may succeed, and info.log has this one
            self.handleError(record)


def setup_logging(
    save_dir: str | Path | None = None,
    log_config: str | Path = "logger/logger_config.json",
    default_level: int = logging.INFO,
) -> None:
    """Sends log lines to the console and, with a folder, to ``save_dir/info.log``.

    A second call changes the folder and repeats no line.

    Args:
        save_dir: the folder of info.log.
        log_config: a JSON file with the project's own settings for ``logging.config``. If it
            exists, its settings replace all of these.
        default_level: the level of the root logger.
    """
    if Path(log_config).is_file() and save_dir is not None:
        _use_settings(read_json(log_config), Path(save_dir))
        return
    keep_console()
    root = logging.getLogger()
    root.setLevel(default_level)
    handlers = get_run_handlers()
    if not any(isinstance(handler, _Console) for handler in handlers):
        # It replaces the plain handler that ConfigParser.get_logger installs before a run begins.
        for handler in list(root.handlers):
            if type(handler) is logging.StreamHandler:
                root.removeHandler(handler)
        handlers.insert(0, _Console())
    set_run_handlers(handlers)
    logging.captureWarnings(True)
    get_logger("py.warnings", logging.WARNING)
    for name in RUN_LOGGERS:
        level = logging.getLogger(name).level
        get_logger(name, default_level if level == logging.NOTSET else level)
    threading.excepthook = _log_thread_error
    # The checkpoint reports a full disk once. The log lines must not report it again.
    logging.raiseExceptions = False
    if save_dir is not None:
        _log_to(Path(save_dir).resolve() / "info.log")


def _use_settings(settings: dict[str, Any], save_dir: Path) -> None:
    for handler in settings["handlers"].values():
        if "filename" in handler:
            handler["filename"] = str(save_dir / handler["filename"])
    ensure_dir(save_dir)
    logging.config.dictConfig(settings)
    set_run_handlers(logging.getLogger().handlers)


def _log_to(path: Path) -> None:
    if any(handler.baseFilename == str(path) for handler in _list_files()):
        return
    close_files()
    ensure_dir(path.parent)
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    set_run_handlers([*get_run_handlers(), handler])


def _list_files() -> list[logging.FileHandler]:
    return [handler for handler in get_run_handlers() if isinstance(handler, logging.FileHandler)]


def close_files() -> None:
    """Stops logging to files. The console continues."""
    files = _list_files()
    set_run_handlers([handler for handler in get_run_handlers() if handler not in files])
    for file in files:
        file.close()


def log_to_files(message: str, error: BaseException | None = None) -> None:
    """Writes a line, and the traceback of ``error``, to the files but not on the console."""
    details = None if error is None else (type(error), error, error.__traceback__)
    record = logging.getLogger("run").makeRecord(
        "run", logging.ERROR, __file__, 0, message, (), details
    )
    for file in _list_files():
        file.handle(record)


def _log_thread_error(error: threading.ExceptHookArgs) -> None:
    """Python prints an error that ends a thread; info.log has it too. A full disk is one line."""
    name = "a thread" if error.thread is None else error.thread.name
    if error.exc_type is not SystemExit:
        log_to_files(f"An error has ended {name}:", error.exc_value)
    if isinstance(error.exc_value, OSError):
        print(f"An error has ended {name}: {one_line(error.exc_value)}", file=sys.stderr)
    else:
        threading.__excepthook__(error)
