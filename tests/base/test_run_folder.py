"""The folder of a run: what is written into it, and what a run that fails leaves behind."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

from base.commands import format_summary, get_command, get_python_command
from base.run import RunFolder
from logger.visualization import TensorboardWriter
from tests.base.run_folders import Config, fail, has_log_file, read_sessions
from utils.errors import UserError
from utils.stop import Request, StopProgram

pytestmark = pytest.mark.usefixtures("root_logger")


def test_entering_makes_the_folder_and_describe_describes_it(saved: Path, folder: Path) -> None:
    run = RunFolder(Config(saved))
    assert not saved.exists()
    with run:
        assert (folder / "log").is_dir()
        run.describe()
        assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == {"name": "probe"}
        (session,) = read_sessions(folder)
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
        (RuntimeError("out of memory"), "failed: RuntimeError: out of memory"),
        (SystemExit(3), "failed: SystemExit: 3"),
        (MemoryError(), "failed: MemoryError"),
        (StopProgram(Request(75, "SIGUSR1")), "stopped by SIGUSR1"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_session_notes_how_it_ended(
    saved: Path, folder: Path, error: BaseException | None, outcome: str
) -> None:
    if error is None:
        with RunFolder(Config(saved)) as run:
            run.describe()
    else:
        fail(Config(saved), error, "checkpoint-epoch1.pt")
    (session,) = read_sessions(folder)
    assert session["outcome"] == outcome
    assert session["end"] >= session["start"]


def test_a_resumed_run_adds_a_session(saved: Path, folder: Path) -> None:
    with RunFolder(Config(saved)) as run:
        run.describe()
        (folder / "checkpoint-epoch1.pt").touch()
    with RunFolder(Config(saved, resume=folder / "checkpoint-epoch1.pt")) as run:
        run.describe()
    assert [session["outcome"] for session in read_sessions(folder)] == ["finished", "finished"]


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"sessions": 5}'])
def test_a_damaged_provenance_does_not_stop_a_run(saved: Path, folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(text, encoding="utf-8")
    with RunFolder(Config(saved, resume=folder / "checkpoint-epoch1.pt")) as run:
        run.describe()
    assert [session["outcome"] for session in read_sessions(folder)] == ["finished"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StopProgram(Request(75, "SIGUSR1")), "stopped by SIGUSR1"),
        (KeyboardInterrupt(), "interrupted"),
        (KeyError("missing"), "failed: KeyError: 'missing'"),
    ],
)
def test_a_run_that_ends_while_it_is_made_is_described(
    saved: Path, folder: Path, error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)), RunFolder(Config(saved)):
        raise error
    (session,) = read_sessions(folder)
    assert session["outcome"] == outcome
    assert (folder / "config.json").exists()


class NoTextError(Exception):
    """An error that cannot be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "error", [KeyError("missing"), NoTextError(), ExceptionGroup("two", [KeyError("a")])]
)
def test_the_traceback_of_a_bug_is_in_the_log(saved: Path, folder: Path, error: Exception) -> None:
    """xnmt #458."""
    fail(Config(saved), error)
    text = (folder / "log" / "info.log").read_text(encoding="utf-8")
    assert f"The run has failed: {type(error).__name__}" in text
    assert "Traceback" in text
    assert "raise error" in text
    assert read_sessions(folder)[-1]["outcome"].startswith(f"failed: {type(error).__name__}")


def test_a_users_mistake_is_a_line_in_the_log_without_a_traceback(
    saved: Path, folder: Path
) -> None:
    fail(Config(saved), UserError("the loss is nan"), "checkpoint-epoch1.pt")
    text = (folder / "log" / "info.log").read_text(encoding="utf-8")
    assert text.endswith("The run has failed: the loss is nan\n")


# -- what is left behind --------------------------------------------------------------------------


def test_a_users_mistake_leaves_nothing_behind(tmp_path: Path, saved: Path) -> None:
    fail(Config(saved), UserError("no such dataset"))
    assert list(tmp_path.iterdir()) == []
    assert not has_log_file()


def test_event_files_are_closed_before_their_folder_is_deleted(
    tmp_path: Path, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with RunFolder(Config(saved)) as run:
            run.describe()
            writer = TensorboardWriter(run.config.log_dir, logging.getLogger("probe"), True)
            writers.append(writer)
            writer.set_step(1)
            writer.add_scalar("loss", 0.5)
            writer.flush()
            raise UserError("no such layer")

    writers: list[TensorboardWriter] = []
    with pytest.raises(UserError):
        run()
    assert not any(back_end.started for back_end in writers[0].back_ends)
    writers[0].close()
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == []


def test_the_folders_of_other_runs_stay(saved: Path) -> None:
    (saved / "probe" / "other").mkdir(parents=True)
    fail(Config(saved), UserError("no such dataset"))
    assert [path.name for path in (saved / "probe").iterdir()] == ["other"]


@pytest.mark.parametrize("weights", ["checkpoint-epoch1.pt", "model_best.pt", "old.pth"])
def test_a_folder_that_holds_weights_is_kept(saved: Path, folder: Path, weights: str) -> None:
    fail(Config(saved), UserError("the loss is nan"), weights)
    assert (folder / weights).exists()


def test_a_folder_with_the_numbers_of_an_epoch_is_kept(saved: Path, folder: Path) -> None:
    config = Config(saved)

    def fail_in_epoch_2() -> None:
        with RunFolder(config) as run:
            run.describe()
            (config.log_dir / "metrics.jsonl").write_text('{"epoch": 1}\n')
            raise UserError("the loss is nan")

    with pytest.raises(UserError):
        fail_in_epoch_2()
    assert (folder / "log" / "metrics.jsonl").is_file()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_any_other_error_keeps_the_folder(saved: Path, folder: Path, error: BaseException) -> None:
    fail(Config(saved), error)
    assert (folder / "config.json").is_file()


def test_a_folder_that_was_there_before_is_kept(saved: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    fail(Config(saved), UserError("no such dataset"))
    assert (folder / "notes.txt").exists()


# -- what to do next ------------------------------------------------------------------------------


def test_an_interrupted_run_with_a_checkpoint_shows_how_to_continue(
    saved: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(Config(saved), KeyboardInterrupt(), "checkpoint-epoch1.pt")
    assert capsys.readouterr().out.endswith(f"train.py -r {folder}\n")


def test_the_commands_quote_a_folder_with_a_space() -> None:
    assert "test.py -r 'my runs/probe/run'" in format_summary(Path("my runs/probe/run"), "", None)


def test_the_summary_shows_the_best_and_the_commands() -> None:
    lines = format_summary(Path("saved/probe/run"), "val_accuracy", 0.98765432).splitlines()
    assert lines[:2] == ["Best val_accuracy: 0.987654", "Run folder: saved/probe/run"]
    without = format_summary(Path("saved/probe/run"), "loss", float("inf"))
    assert without.startswith("Run folder")  # no epoch had a finite loss
    assert [line.split()[:2] for line in lines[2:]] == [
        ["to", "test"],
        ["to", "go"],
        ["to", "watch"],
    ]
    assert lines[2].endswith("test.py -r saved/probe/run")
    assert lines[3].endswith("train.py -r saved/probe/run trainer.epochs=N")
    assert lines[4].endswith(" -m tensorboard.main --logdir saved/probe")


@pytest.mark.parametrize(("metric", "best"), [("", 0.0), ("val_loss", None)])
def test_without_a_monitor_the_summary_shows_no_best(metric: str, best: float | None) -> None:
    summary = format_summary(Path("saved/probe/run"), metric, best)
    assert summary.startswith("Run folder: saved/probe/run\n")


def test_the_interpreter_is_shown_as_one_types_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert get_python_command() == ".venv/bin/python"
    monkeypatch.setattr(shutil, "which", lambda _: str(tmp_path / ".venv/bin/python"))
    assert get_python_command() == "python"


def test_a_command_works_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("base.commands.ROOT", tmp_path / "my project")
    monkeypatch.chdir(tmp_path)
    assert get_command("test.py").endswith(f" '{tmp_path}/my project/test.py'")
    (tmp_path / "my project").mkdir()
    monkeypatch.chdir("my project")
    assert get_command("test.py").endswith(" test.py")
