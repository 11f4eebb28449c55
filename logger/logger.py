"""Python's logging: plain lines on the console, dated ones in info.log."""

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
    """Prints lines on standard output without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            lines = self.format(record).expandtabs().split("\n")
            tqdm.write("\n".join(map(printable, lines)), file=sys.stdout)
            sys.stdout.flush()
        except (
            OSError,
            ValueError,
            AttributeError,
        ):  # nobody reads on (`| head`), or there is no console
            logging.getLogger().removeHandler(self)
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  (or Python fails at its exit)


def setup_logging(
    save_dir: str | Path | None = None,
    log_config: str | Path = "logger/logger_config.json",
    default_level: int = logging.INFO,
) -> None:
    """Sends log lines to the console, and with ``save_dir`` to ``save_dir/info.log`` too. May be called again.

    Args:
        save_dir: the folder of info.log.
        log_config: a project's own ``logging.config`` dictionary as JSON; used if the file is there.
        default_level: of the root logger otherwise.
    """
    root = logging.getLogger()
    if Path(log_config).is_file() and save_dir is not None:
        settings: dict[str, Any] = read_json(log_config)
        for own in settings["handlers"].values():
            if "filename" in own:
                own["filename"] = str(Path(save_dir, own["filename"]))
        ensure_dir(save_dir)
        logging.config.dictConfig(settings)
        return
    root.setLevel(default_level)
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        for handler in [
            handler for handler in root.handlers if type(handler) is logging.StreamHandler
        ]:
            root.removeHandler(handler)  # what ConfigParser.get_logger made do with
        root.addHandler(_Console())
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk is told once, by the checkpoint
    if save_dir is None:
        return
    path = Path(save_dir).resolve() / "info.log"
    files = [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]
    if any(handler.baseFilename == str(path) for handler in files):
        return
    close_files()
    ensure_dir(path.parent)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root.addHandler(handler)


def close_files() -> None:
    """Ends the logging to files; the console goes on."""
    root = logging.getLogger()
    for handler in [
        handler for handler in root.handlers if isinstance(handler, logging.FileHandler)
    ]:
        root.removeHandler(handler)
        handler.close()
