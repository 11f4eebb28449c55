"""A stranger's checkpoint runs nothing and writes nothing outside its run."""

from __future__ import annotations

import logging
import runpy
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import base  # noqa: F401  (before the time limit starts)
from logger.logger import close_files
from tests.fuzz.hostile_checkpoints import make_cases
from tests.fuzz.hostile_names import make_link, make_trainer_config
from tests.fuzz.hostile_runs import Case
from tests.fuzz.hostile_sandbox import (
    ALL,
    MAX_SECONDS,
    Outcome,
    TooSlow,
    find_changes,
    find_problem,
    run_process,
    snapshot,
    watched,
)
from tests.helpers import ROOT, make_trainer

CASES = make_cases()
FIRST = (
    "pickle: os.system",
    "format: torch's oldest format as .pth",
    "folder: log is a link to ../outside",
)
PROCESSES = [
    case
    for case in CASES
    if case.name in FIRST or (ALL and not case.may_pass and CASES.index(case) % 6 == 0)
]


def get_name(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a good run of one epoch."""
    config = make_trainer_config(
        monitor="min val_loss", ema_decay=0.9, save_dir=str(tmp_path_factory.mktemp("good"))
    )
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    trainer = make_trainer(config)
    trainer.train()
    close_files()
    return Path(trainer.checkpoint_dir)


@pytest.fixture
def here(tmp_path: Path, finished: Path) -> Path:
    """The folder where the programs run, with a good run, beside a file they must not touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("untouched")
    shutil.copytree(finished, tmp_path / "here" / "run")
    return tmp_path / "here"


def run_in_this_process(
    program: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[Outcome, str]:
    """Runs a program.

    Returns:
        its outcome, and what it must not do but did, or an empty string.
    """
    sys.argv, failure, status = [program, *words], "", 0
    with watched() as seen:
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        except TooSlow:
            failure = f"takes over {MAX_SECONDS} seconds"
        except BaseException as error:
            failure = f"a traceback: {type(error).__name__}: {str(error)[:200]}"
    close_files()
    output = capsys.readouterr()
    outcome = Outcome(status, output.err.split("\n")[:-1], output.err + output.out)
    # A run writes its own files. The tests compare the folders instead.
    forbidden = [event for event in seen if not event.startswith("writes")]
    return outcome, failure or ", ".join(forbidden)


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20


@pytest.mark.parametrize("program", ["train.py", "test.py"])
@pytest.mark.parametrize("case", CASES if ALL else CASES[::10], ids=get_name)
def test_a_hostile_checkpoint_does_no_harm(
    case: Case,
    program: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.make(here / "run")
        before = snapshot(here.parent, besides="here/run")
        run_before = snapshot(here / "run", besides="log")
        words = ["trainer.epochs=2"] if program == "train.py" else []
        outcome, failure = run_in_this_process(program, ["-r", case.resume, *words], capsys)
    assert not failure
    assert not find_changes(before, snapshot(here.parent, besides="here/run"))
    assert not find_problem(outcome, case.may_pass)
    if outcome.status == 2 and not case.may_pass:
        assert not find_changes(run_before, snapshot(here / "run", besides="log"))


@pytest.mark.parametrize("path", ["runs/hostile", "runs/hostile/new"])
def test_a_resumed_run_in_a_new_folder_follows_no_link(
    path: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", sys.argv)
    make_link(path, "../" * (path.count("/") + 1) + "outside")(here)
    before = snapshot(here.parent)
    words = ["-r", "run", "--run-id", "new", "trainer.save_dir=runs", "trainer.epochs=2"]
    outcome, failure = run_in_this_process("train.py", words, capsys)
    assert not failure
    assert not find_changes(before, snapshot(here.parent))
    assert not find_problem(outcome)


@pytest.mark.parametrize("case", PROCESSES, ids=get_name)
def test_a_program_does_no_harm_with_a_hostile_checkpoint(case: Case, here: Path) -> None:
    program = ("train.py", "test.py")[PROCESSES.index(case) % 2]
    case.make(here / "run")
    before = snapshot(here.parent, besides="here/run")
    outcome = run_process(program, "-r", case.resume, cwd=here)
    assert not find_problem(outcome, case.may_pass)
    assert not find_changes(before, snapshot(here.parent, besides="here/run"))
