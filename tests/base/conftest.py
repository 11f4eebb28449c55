"""Fixtures of the tests of run folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.base.run_folders import restored_root_logger


@pytest.fixture
def root_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A root logger without handlers, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with restored_root_logger():
        yield


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved"


@pytest.fixture
def folder(saved: Path) -> Path:
    return saved / "probe" / "run"
