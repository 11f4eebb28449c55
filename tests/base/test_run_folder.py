"""The folder of a run."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.run import RunFolder, format_summary, get_python_command
from logger.logger import close_files
from utils.errors import UserError


@pytest.fixture(autouse=True)
def _root_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    close_files()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


class Config:
    """The part of a ConfigParser that RunFolder uses."""

    def __init__(
        self, saved: Path, run_id: str = "run", given: bool = True, resume: Path | None = None
    ) -> None:
        self.saved, self.run_id, self.run_id_given, self.resume = saved, run_id, given, resume

    @property
    def save_dir(self) -> Path:
        return self.resume.parent if self.resume is not None else self.saved / "probe" / self.run_id

    @property
    def log_dir(self) -> Path:
        return self.save_dir / "log"

    def plain(self) -> dict[str, Any]:
        return {"name": "probe"}

    def changes(self) -> dict[str, Any]:
        return {}


def sessions(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (folder / "provenance.json").read_text(encoding="utf-8")
    )["sessions"]
    return found


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved"


@pytest.fixture
def folder(saved: Path) -> Path:
    return saved / "probe" / "run"


def test_entering_makes_the_folder_and_describe_describes_it(saved: Path, folder: Path) -> None:
    run = RunFolder(Config(saved))
    assert not saved.exists()
    with run:
        assert (folder / "log").is_dir()
        run.describe()
        assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == {"name": "probe"}
        (session,) = sessions(folder)
        assert (session["outcome"], session["end"]) == ("running", None)
    assert folder.is_dir()


def test_the_log_goes_into_the_folder(saved: Path, folder: Path) -> None:
    with RunFolder(Config(saved)):
        logging.getLogger("probe").info("hello")
    assert "hello" in (folder / "log" / "info.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "finished"),
        (UserError("the loss\nis nan"), "failed: the loss is nan"),
        (RuntimeError("out of memory"), "failed: out of memory"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_session_notes_how_it_ended(
    saved: Path, folder: Path, error: BaseException | None, outcome: str
) -> None:
    def session() -> None:
        with RunFolder(Config(saved)) as run:
            run.describe()
            (folder / "checkpoint-epoch1.pt").touch()
            if error is not None:
                raise error

    if error is None:
        session()
    else:
        with pytest.raises(type(error)):
            session()
    (found,) = sessions(folder)
    assert found["outcome"] == outcome
    assert found["end"] >= found["start"]


def test_a_resumed_run_adds_a_session(saved: Path, folder: Path) -> None:
    with RunFolder(Config(saved)) as run:
        run.describe()
        (folder / "checkpoint-epoch1.pt").touch()
    with RunFolder(Config(saved, resume=folder / "checkpoint-epoch1.pt")) as run:
        run.describe()
    assert [session["outcome"] for session in sessions(folder)] == ["finished", "finished"]


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"sessions": 5}'])
def test_a_damaged_provenance_does_not_stop_a_run(saved: Path, folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(text, encoding="utf-8")
    with RunFolder(Config(saved, resume=folder / "checkpoint-epoch1.pt")) as run:
        run.describe()
    assert [session["outcome"] for session in sessions(folder)] == ["finished"]


# -- what is left behind --------------------------------------------------------------------------


def fail(config: Config, error: BaseException, *files: str, folder: Path | None = None) -> None:
    def run() -> None:
        with RunFolder(config, folder) as run:
            run.describe()
            for name in files:
                (config.save_dir / name).touch()
            raise error

    with pytest.raises(type(error)):
        run()


def test_a_users_mistake_leaves_nothing_behind(tmp_path: Path, saved: Path) -> None:
    fail(Config(saved), UserError("no such dataset"))
    assert list(tmp_path.iterdir()) == []
    assert not any(
        isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers
    )


def test_the_folders_of_other_runs_stay(saved: Path) -> None:
    (saved / "probe" / "other").mkdir(parents=True)
    fail(Config(saved), UserError("no such dataset"))
    assert [path.name for path in (saved / "probe").iterdir()] == ["other"]


@pytest.mark.parametrize("weights", ["checkpoint-epoch1.pt", "model_best.pt", "old.pth"])
def test_a_folder_that_holds_weights_is_kept(saved: Path, folder: Path, weights: str) -> None:
    fail(Config(saved), UserError("the loss is nan"), weights)
    assert (folder / weights).exists()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_any_other_error_keeps_the_folder(saved: Path, folder: Path, error: BaseException) -> None:
    fail(Config(saved), error)
    assert (folder / "config.json").is_file()


def test_a_folder_that_was_there_before_is_kept(saved: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    fail(Config(saved), UserError("no such dataset"))
    assert (folder / "notes.txt").exists()


def test_an_interrupted_run_with_a_checkpoint_shows_how_to_go_on(
    saved: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(Config(saved), KeyboardInterrupt(), "checkpoint-epoch1.pt")
    assert capsys.readouterr().out.endswith(f"train.py -r {folder}\n")


def test_a_folder_that_is_given_is_used_and_belongs_to_the_caller(
    tmp_path: Path, saved: Path
) -> None:
    class Movable(Config):
        folder: Path | None = None

        def move_to(self, folder: Path) -> None:
            self.folder = folder

        @property
        def save_dir(self) -> Path:
            return super().save_dir if self.folder is None else self.folder

    given = tmp_path / "trial"
    given.mkdir()
    config = Movable(saved)
    with RunFolder(config, folder=given) as run:
        assert run.save_dir == config.save_dir == given
        logging.getLogger("probe").info("hello")
        assert "hello" in (given / "log" / "info.log").read_text(encoding="utf-8")
    fail(config, UserError("no such dataset"), folder=given)
    assert given.is_dir()
    assert not saved.exists()
    assert not any(
        isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers
    )


# -- which folder ---------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_refused_and_stays(saved: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "checkpoint-epoch3.pt").write_text("weights", encoding="utf-8")
    with (
        pytest.raises(
            UserError, match="holds a run already; go on with it by -r, or choose another --run-id"
        ),
        RunFolder(Config(saved)),
    ):
        pytest.fail("entered")
    assert [path.name for path in folder.iterdir()] == ["checkpoint-epoch3.pt"]


def test_runs_that_start_in_the_same_second_get_different_folders(saved: Path) -> None:
    for _ in range(3):
        with RunFolder(Config(saved, "20260101_120000", given=False)) as run:
            (run.save_dir / "checkpoint-epoch1.pt").touch()
    names = sorted(path.name for path in (saved / "probe").iterdir())
    assert names == ["20260101_120000", "20260101_120000-2", "20260101_120000-3"]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("blocked", ["saved", "saved/probe"])
def test_a_file_in_the_way_is_an_error(
    tmp_path: Path, saved: Path, blocked: str, given: bool
) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).touch()
    with (
        pytest.raises(UserError, match="the run folder cannot be made") as caught,
        RunFolder(Config(saved, given=given)),
    ):
        pytest.fail("entered")
    assert "\n" not in str(caught.value)


def test_a_file_instead_of_the_folder_is_an_error(saved: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.touch()
    with (
        pytest.raises(UserError, match=r"run.*(cannot be made|Not a directory)"),
        RunFolder(Config(saved)),
    ):
        pytest.fail("entered")
    assert folder.is_file()


@pytest.mark.parametrize("given", [True, False])
def test_a_dangling_link_is_an_error_and_not_tried_for_ever(saved: Path, given: bool) -> None:
    class Impatient(Config):
        tries = 0

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "run_id":
                Impatient.tries += 1
                assert Impatient.tries < 50, "tries for ever"
            super().__setattr__(name, value)

    saved.symlink_to("/no/such/disk")  # a disk that is not mounted
    with pytest.raises(UserError, match="cannot be made"), RunFolder(Impatient(saved, given=given)):
        pytest.fail("entered")


# -- the rest -------------------------------------------------------------------------------------


def test_the_summary_shows_the_best_and_the_commands() -> None:
    lines = format_summary(Path("saved/probe/run"), "val_accuracy", 0.98765432).splitlines()
    assert lines[:2] == ["Best val_accuracy: 0.987654", "Run folder: saved/probe/run"]
    assert [line.split()[0:2] for line in lines[2:]] == [
        ["to", "test"],
        ["to", "go"],
        ["to", "watch"],
    ]
    assert lines[2].endswith(" test.py -r saved/probe/run")
    assert lines[3].endswith(" train.py -r saved/probe/run trainer.epochs=N")
    assert lines[4].endswith(" -m tensorboard.main --logdir saved/probe")


@pytest.mark.parametrize(("metric", "best"), [("", 0.0), ("val_loss", None)])
def test_without_a_monitor_the_summary_shows_no_best(metric: str, best: float | None) -> None:
    assert format_summary(Path("saved/probe/run"), metric, best).startswith(
        "Run folder: saved/probe/run\n"
    )


def test_the_interpreter_is_shown_as_one_types_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert get_python_command() == ".venv/bin/python"
    monkeypatch.setattr(shutil, "which", lambda _: str(tmp_path / ".venv/bin/python"))
    assert get_python_command() == "python"
