"""Running train.py and test.py in the process of the tests, which saves importing torch anew."""

from __future__ import annotations

import contextlib
import linecache
import logging
import runpy
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import pytest

from logger.logger import close_files
from tests.helpers import ROOT


class Ended(NamedTuple):
    """How a program ended, with what it printed."""

    status: int
    out: str
    err: str


def call_program(name: str, *words: object) -> int:
    """Runs ``python NAME WORDS`` in this process; returns the exit status.

    Args:
        name: train.py or test.py.
        words: of the command line.
    """
    with pytest.MonkeyPatch.context() as patch, restored_loggers():
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", [name, *map(str, words)])
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@contextlib.contextmanager
def restored_loggers() -> Iterator[None]:
    """Takes away the handlers that a program adds to the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        close_files()
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(False)


def add_module(patch: pytest.MonkeyPatch, folder: str, name: str, text: str) -> ModuleType:
    """Adds ``FOLDER/NAME.py`` to the project without a file, which other tests would see.

    Args:
        patch: takes the module away again.
        folder: as ``model``.
        name: of the module.
        text: its source.
    """
    path, full_name = str(ROOT / folder / f"{name}.py"), f"{folder}.{name}"
    module = ModuleType(full_name)
    patch.setitem(sys.modules, full_name, module)
    source = (len(text), None, text.splitlines(keepends=True), path)
    patch.setitem(linecache.cache, path, source)  # for tracebacks
    exec(compile(text, path, "exec"), vars(module))
    return module
