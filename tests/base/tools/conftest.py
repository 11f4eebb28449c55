"""What the tests of the tools share."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from base.tools import runs
from tests.base.tools.probe import CONFIG, FILES
from tests.base.tools.programs import Ended, add_module, call_program
from tests.helpers import make_trainer, small_config
from utils.main import run_main

Call = Callable[..., Ended]


@pytest.fixture(scope="session")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and tested."""
    config = small_config(tmp_path_factory.mktemp("runs"), monitor="max val_accuracy")
    trainer = make_trainer(config)
    trainer.train()
    assert call_program("test.py", "-r", trainer.checkpoint_dir) == 0
    return Path(trainer.checkpoint_dir)


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs train.py or test.py in this process; see ``call_program``."""

    def call(name: str, *words: object) -> Ended:
        capfd.readouterr()
        status = call_program(name, *words)
        return Ended(status, *capfd.readouterr())

    return call


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``python -m base.tools.runs WORDS --dir ROOT`` in this process."""

    def call(root: Path, *words: str, stdin: str = "") -> Ended:
        capsys.readouterr()
        status = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["runs", *words, "--dir", str(root)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            try:
                run_main(runs.main)
            except SystemExit as end:
                status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return call


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder for temporary files, with a short path.

    Workers send their data by a socket in it, whose path may have 107 characters.
    """
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def tool(program: Call, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs ``train.py WORDS``, of which nothing may be left in the folder for temporary files."""

    def call(*words: object) -> Ended:
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(temporary))
            ended = program("train.py", *words)
        assert [path.name for path in temporary.iterdir() if "torch" not in path.name] == []
        return ended

    return call


@pytest.fixture
def probe_modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of FILES, by their folder."""
    return {
        folder: add_module(monkeypatch, folder, "probe", text) for folder, text in FILES.items()
    }


@pytest.fixture
def check(tool: Call, probe_modules: object, tmp_path: Path) -> Call:
    """Runs ``train.py --check`` on CONFIG, unless WORDS name another run. Nothing may be left."""
    (tmp_path / "probe.yaml").write_text(CONFIG)
    saved = tmp_path / "saved"

    def call(*words: str) -> Ended:
        if "-r" in words:
            return tool("--check", *words)
        config = [] if "-c" in words else ["-c", tmp_path / "probe.yaml"]
        ended = tool("--check", *config, *words, f"trainer.save_dir={saved}")
        assert not saved.exists()
        return ended

    return call
