"""Fixtures of the contract tests."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.contract_project import Done, Project, lay_out_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of tests/fixtures/template_project, laid over a copy of this repository."""
    folder = tmp_path_factory.mktemp("project")
    lay_out_project(folder)
    return Project(folder)


@pytest.fixture(scope="session")
def trained(project: Project) -> Done:
    """Three epochs, trained by the command that a user types."""
    return project.run_as_user("train.py", "-c", "config.json", "--run-id", "first")


@pytest.fixture(scope="session")
def straight(project: Project) -> Path:
    """Five epochs without interruption."""
    project.run("train.py", "-c", "config.json", "--run-id", "straight", "trainer.epochs=5").check()
    return project.folder / "saved/Clouds/straight"


@pytest.fixture
def fresh_project(tmp_path: Path) -> Project:
    """The same, in a folder that the test may change."""
    lay_out_project(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def parse_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provides the classes that the template pickles. Other processes do not have them."""
    module = types.ModuleType("parse_config")
    vars(module)["ConfigParser"] = type("ConfigParser", (), {"__module__": "parse_config"})
    monkeypatch.setitem(sys.modules, "parse_config", module)
    history = type("Logger", (), {"__module__": "logger.logger"})
    monkeypatch.setattr("logger.logger.Logger", history, raising=False)


@pytest.fixture(autouse=True)
def _restored_loggers() -> Iterator[None]:
    """Undoes what a test changes in logging."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
