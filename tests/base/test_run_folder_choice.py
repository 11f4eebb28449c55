"""Which folder a run gets, and what is in its way."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from base.run import RunFolder
from tests.base.run_folders import Config, fail, has_log_file
from tests.helpers import ROOT, parsed
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("root_logger")


def get_refusal(config: Config) -> str:
    """The error of a run that cannot begin."""
    with pytest.raises(UserError) as caught, RunFolder(config):
        pytest.fail("entered")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_existing_folder_is_used_and_belongs_to_the_caller(tmp_path: Path, saved: Path) -> None:
    trial = tmp_path / "trial"
    trial.mkdir()
    config = Config(saved)
    with RunFolder(config, folder=trial) as run:
        assert run.save_dir == config.save_dir == trial
        logging.getLogger("probe").info("hello")
        assert "hello" in (trial / "log" / "info.log").read_text(encoding="utf-8")
    fail(config, UserError("no such dataset"), folder=trial)
    assert trial.is_dir()
    assert not saved.exists()
    assert not has_log_file()


def test_a_folder_that_holds_a_run_is_refused_and_stays(saved: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "checkpoint-epoch3.pt").write_text("weights", encoding="utf-8")
    message = "holds a run already; continue it with -r, or choose another --run-id"
    assert message in get_refusal(Config(saved))
    assert [path.name for path in folder.iterdir()] == ["checkpoint-epoch3.pt"]


def test_runs_that_start_in_the_same_second_get_different_folders(saved: Path) -> None:
    for _ in range(3):
        with RunFolder(Config(saved, "20260101_120000", is_explicit=False)) as run:
            (run.save_dir / "checkpoint-epoch1.pt").touch()
    names = sorted(path.name for path in (saved / "probe").iterdir())
    assert names == ["20260101_120000", "20260101_120000-2", "20260101_120000-3"]


@pytest.mark.parametrize("is_explicit", [True, False])
@pytest.mark.parametrize("blocked", ["saved", "saved/probe"])
def test_a_file_in_the_way_is_an_error(
    tmp_path: Path, saved: Path, blocked: str, is_explicit: bool
) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).touch()
    assert "the run folder cannot be made" in get_refusal(Config(saved, is_explicit=is_explicit))


def test_a_file_instead_of_the_folder_is_an_error(saved: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()
    assert f"{folder}: the run folder cannot be made: " in get_refusal(Config(saved))
    assert folder.is_file()


@pytest.mark.parametrize("is_explicit", [True, False])
def test_a_dangling_link_is_an_error_and_is_not_tried_for_ever(
    saved: Path, is_explicit: bool
) -> None:
    class Impatient(Config):
        tries = 0

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "run_id":
                Impatient.tries += 1
                assert Impatient.tries < 50, "tries for ever"
            super().__setattr__(name, value)

    saved.symlink_to("/no/such/disk")  # a disk that is not mounted
    assert "cannot be made" in get_refusal(Impatient(saved, is_explicit=is_explicit))


@pytest.fixture
def resumed(tmp_path: Path) -> Path:
    """A checkpoint in the folder of a run with the name ``digits``."""
    folder = tmp_path / "saved/digits/one"
    folder.mkdir(parents=True)
    trainer = {"save_dir": str(tmp_path / "saved")}
    text = json.dumps({"name": "digits", "arch": {}, "trainer": trainer})
    (folder / "config.json").write_text(text, encoding="utf-8")
    (folder / "checkpoint-epoch1.pt").touch()
    return folder / "checkpoint-epoch1.pt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["name=other"], "name: a resumed run stays in .*one; with --run-id ID, it goes on in"),
        (["trainer.save_dir=elsewhere"], r"trainer\.save_dir: a resumed run stays in"),
    ],
)
def test_a_resumed_run_that_would_stay_elsewhere_is_refused(
    resumed: Path, words: list[str], message: str
) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/11379"""
    config = parsed("--resume", resumed, *words)
    with pytest.raises(UserError) as caught, config.locating_errors(), RunFolder(config):
        pytest.fail("entered")
    assert re.search(message, str(caught.value))


def test_a_resumed_run_may_be_named_again_moved_or_continued_elsewhere(resumed: Path) -> None:
    with RunFolder(parsed("--resume", resumed, "name=digits")) as run:
        assert run.save_dir == resumed.parent
    moved = resumed.parent.rename(resumed.parents[3] / "moved")
    with RunFolder(parsed("--resume", moved)) as run:
        assert run.save_dir == moved
    with RunFolder(parsed("--resume", moved, "name=other", "--run-id", "two")) as run:
        assert run.save_dir == resumed.parents[3] / "saved/other/two"


def test_a_run_does_not_continue_in_the_folder_of_another_one(resumed: Path) -> None:
    other = resumed.parents[1] / "two"
    other.mkdir()
    (other / "checkpoint-epoch9.pt").touch()
    with (
        pytest.raises(UserError, match="two: holds a run already"),
        RunFolder(parsed("--resume", resumed, "--run-id", "two")),
    ):
        pytest.fail("entered")


def test_a_checkpoint_outside_of_a_run_starts_a_new_folder(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    (downloads / "elsewhere").symlink_to("/")  # would not be allowed in a run folder
    (downloads / "model.pt").touch()
    words = (f"trainer.save_dir={tmp_path}/saved", "name=mine")
    config = parsed(
        "--resume", downloads / "model.pt", "--config", ROOT / "config/config.json", *words
    )
    with RunFolder(config) as run:
        assert run.save_dir.parent == tmp_path / "saved/mine"
    assert sorted(path.name for path in downloads.iterdir()) == [
        *("config.json", "elsewhere", "model.pt")
    ]
