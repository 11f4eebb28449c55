from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from config.__main__ import main
from tests.config.experiment import BASE_YAML, CHILD_YAML, Look
from tests.config.probe import FILES
from utils.main import run_main


@pytest.fixture
def probe_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the file probe.py to the folders model/, data_loader/ and trainer/ of the project."""
    for folder, members in FILES.items():
        module = ModuleType(f"{folder}.probe")
        for member in members:
            monkeypatch.setattr(member, "__module__", module.__name__)
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Look:
    """Runs ``python -m config WORDS`` in a folder with base.yaml and child.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE_YAML, encoding="utf-8")
    Path("child.yaml").write_text(CHILD_YAML, encoding="utf-8")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["config", *words])
        status = 0
        try:
            run_main(main)
        except SystemExit as end:
            status = end.code  # type: ignore[assignment]
        return (status, *capsys.readouterr())

    return call
