"""What the tests of ``utils.migrate`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_projects import make, table

from utils.migrate import compose, project
from utils.migrate.__main__ import main

Migrate = Callable[..., tuple[int, str, Path]]


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    known = table()
    monkeypatch.setattr(project, "table", lambda: known)
    monkeypatch.setattr(compose, "table", lambda: known)


@pytest.fixture
def migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Migrate:
    """Makes a project, moves it, and gives the exit status, the report and the new folder."""

    def run(check: bool = False, **changed: Any) -> tuple[int, str, Path]:
        project, target = make(tmp_path / "old", **changed), tmp_path / "new"
        status = main(project, None if check else target)
        return status, capsys.readouterr().out, target

    return run
