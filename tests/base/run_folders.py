"""What the tests of RunFolder share: a small config, the sessions of a run, the root logger."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.run import RunFolder
from logger.logger import close_files


@contextlib.contextmanager
def restored_root_logger() -> Iterator[None]:
    """The root logger has no handlers inside, and those of before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    close_files()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


class Config:
    """The part of a ConfigParser that RunFolder uses."""

    def __init__(
        self, saved: Path, run_id: str = "run", is_explicit: bool = True, resume: Path | None = None
    ) -> None:
        self.saved, self.run_id, self.resume = saved, run_id, resume
        self.has_explicit_run_id = is_explicit
        self.folder: Path | None = None
        self.facts: dict[str, Any] = {}

    def move_to(self, folder: Path) -> None:
        self.folder = folder

    @property
    def save_dir(self) -> Path:
        if self.folder is not None:
            return self.folder
        return self.resume.parent if self.resume is not None else self.saved / "probe" / self.run_id

    @property
    def log_dir(self) -> Path:
        return self.save_dir / "log"

    def plain(self) -> dict[str, Any]:
        return {"name": "probe"}

    def changes(self) -> dict[str, Any]:
        return {}


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions in a run's ``provenance.json``."""
    text = (folder / "provenance.json").read_text(encoding="utf-8")
    sessions: list[dict[str, Any]] = json.loads(text)["sessions"]
    return sessions


def fail(config: Config, error: BaseException, *files: str, folder: Path | None = None) -> None:
    """Begins a run, which makes these files and then fails with ``error``."""

    def run() -> None:
        with RunFolder(config, folder) as run:
            run.describe()
            for name in files:
                (config.save_dir / name).touch()
            raise error

    with pytest.raises(type(error)):
        run()


def has_log_file() -> bool:
    """Whether log lines go into a file."""
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)
