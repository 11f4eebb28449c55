"""What the tests of the tools share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import make_trainer, run, small_config


@pytest.fixture(scope="session")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained and tested."""
    config = small_config(tmp_path_factory.mktemp("runs"), monitor="max val_accuracy")
    trainer = make_trainer(config)
    trainer.train()
    done = run("test.py", "-r", trainer.checkpoint_dir)
    assert done.returncode == 0, done.stderr
    return Path(trainer.checkpoint_dir)
