"""Python's logging: plain lines on the console, dated lines in info.log."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from pathlib import Path
from typing import Any

from utils.errors import printable
from utils.util import ensure_dir, read_json


class _Console(logging.Handler):
    """Prints lines on standard output, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            lines = self.format(record).expandtabs().split("\n")
            tqdm.write("\n".join(map(printable, lines)), file=sys.stdout)
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            # The reader has left (`| head`), or there is no console. Python would fail at its exit
            # when it flushes a standard output that is closed.
            logging.getLogger().removeHandler(self)
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115


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
    root = logging.getLogger()
    root.setLevel(default_level)
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        # It replaces the plain handler that ConfigParser.get_logger installs before a run begins.
        for handler in list(root.handlers):
            if type(handler) is logging.StreamHandler:
                root.removeHandler(handler)
        root.addHandler(_Console())
    logging.captureWarnings(True)
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


def _file_handlers() -> list[logging.FileHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, logging.FileHandler)]


def _log_to(path: Path) -> None:
    if any(handler.baseFilename == str(path) for handler in _file_handlers()):
        return
    close_files()
    ensure_dir(path.parent)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)


def close_files() -> None:
    """Stops logging to files. The console continues."""
    for handler in _file_handlers():
        logging.getLogger().removeHandler(handler)
        handler.close()
