"""What the tests of the tools share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.base.tools.programs import Ended, call_program
from tests.helpers import make_trainer, small_config


@pytest.fixture(scope="session")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and tested."""
    config = small_config(tmp_path_factory.mktemp("runs"), monitor="max val_accuracy")
    trainer = make_trainer(config)
    trainer.train()
    assert call_program("test.py", "-r", trainer.checkpoint_dir) == 0
    return Path(trainer.checkpoint_dir)


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs train.py or test.py in this process; see ``call_program``."""

    def call(name: str, *words: object) -> Ended:
        capfd.readouterr()
        status = call_program(name, *words)
        return Ended(status, *capfd.readouterr())

    return call
