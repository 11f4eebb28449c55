"""Fixtures of the contract's tests."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract_project import WARM, Project, environment, lay_out


@pytest.fixture(scope="session")
def warm() -> Iterator[subprocess.Popen[str] | None]:
    """The process that Project.run asks; None where processes cannot fork."""
    if not hasattr(os, "fork"):
        yield None
        return
    command = [sys.executable, "-c", WARM]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()  # closing its standard input is not enough: a loader's workers, forked from here, hold it too


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, warm: subprocess.Popen[str] | None
) -> Project:
    """The project of tests/fixtures/template_project, laid over a copy of this repository."""
    folder = tmp_path_factory.mktemp("project")
    lay_out(folder)
    return Project(folder, warm)


@pytest.fixture
def own_project(tmp_path: Path, warm: subprocess.Popen[str] | None) -> Project:
    """The same in a folder that the test may change."""
    lay_out(tmp_path)
    return Project(tmp_path, warm)


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
