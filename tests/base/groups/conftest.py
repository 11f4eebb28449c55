"""Groups of small runs, trained once for all tests of this folder, and a database server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.base.tools.programs import Ended, call_program
from tests.helpers import small_config
from tests.postgres import find_missing, run_server


def train_members(
    folder: Path, group: str, changes: dict[str, list[str]], data_loader: dict[str, Any]
) -> Path:
    """Trains a run for each name in ``changes``, below ``folder/small/GROUP``.

    Args:
        folder: the ``save_dir`` of the runs.
        group: the id of the group.
        changes: the overrides for each run.
        data_loader: the section of the config.
    """
    trainer = {"epochs": 1, "monitor": "min val_loss"}
    config = small_config(folder, **trainer) | {"data_loader": data_loader}
    path = folder / f"{group}.json"
    path.write_text(json.dumps(config))
    for name, words in changes.items():
        assert call_program("train.py", "-c", path, "--run-id", f"{group}/{name}", *words) == 0
    return folder / "small" / group


@pytest.fixture(scope="session")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of the digits: two folds under two seeds, which draw other folds."""
    changes = {
        f"seed-{seed}-fold-{fold}": [
            f"seed={seed}",
            f"data_loader.args.fold={fold}",
            f"data_loader.args.split_seed={seed}",
        ]
        for seed in (1, 2)
        for fold in (1, 2)
    }
    section = {"type": "DigitsDataLoader", "args": {"batch_size": 64, "folds": 2}}
    return train_members(tmp_path_factory.mktemp("folds"), "cv", changes, section)


@pytest.fixture(scope="session")
def folds_without_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of a data set that has no test part."""
    images = {"size": 24, "image_size": [1, 8, 8], "transform": {"type": "ToTensor"}}
    dataset = {"type": "FakeData", "args": images}
    args = {"dataset": dataset, "batch_size": 5, "folds": 2, "num_workers": 0}
    changes = {f"fold-{fold}": [f"data_loader.args.fold={fold}"] for fold in (1, 2)}
    section = {"type": "DatasetLoader", "args": args}
    return train_members(tmp_path_factory.mktemp("plain"), "cv", changes, section)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server, which runs as long as the tests."""
    if missing := find_missing():
        pytest.skip(missing)
    with run_server() as url:
        yield url


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs train.py or test.py in this process; see ``call_program``."""

    def call(name: str, *words: object) -> Ended:
        capfd.readouterr()
        status = call_program(name, *words)
        return Ended(status, *capfd.readouterr())

    return call
