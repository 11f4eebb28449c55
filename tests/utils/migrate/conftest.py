"""Fixtures of the tests of ``utils.migrate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_projects import make_project, make_table

from utils.migrate import compose, read_project
from utils.migrate.__main__ import main

Migrate = Callable[..., tuple[int, str, Path]]


@pytest.fixture(autouse=True)
def _small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the tool take the small template of these tests for pytorch-template."""
    table = make_table()
    monkeypatch.setattr(read_project, "load_table", lambda: table)
    monkeypatch.setattr(compose, "load_table", lambda: table)


@pytest.fixture
def migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Migrate:
    """Makes a project and migrates it. Returns the exit status, the report and the new folder."""

    def run(check: bool = False, **changed: Any) -> tuple[int, str, Path]:
        project, target = make_project(tmp_path / "old", **changed), tmp_path / "new"
        status = main(project, None if check else target)
        return status, capsys.readouterr().out, target

    return run
