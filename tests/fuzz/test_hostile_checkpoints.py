"""A checkpoint from a stranger runs nothing, writes nothing outside its run, and ends in a line."""

from __future__ import annotations

import logging
import runpy
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import base  # noqa: F401  (before the clock runs)
from logger.logger import close_files
from tests.fuzz.hostile_checkpoints import Case, cases
from tests.fuzz.hostile_names import linked, with_trainer
from tests.fuzz.hostile_sandbox import (
    ALL,
    SECONDS,
    Outcome,
    TooSlow,
    changed,
    problem,
    process,
    snapshot,
    watched,
)
from tests.helpers import ROOT, make_trainer

CASES = cases()
FEW = (
    "pickle: os.system",
    "format: torch's oldest format as .pth",
    "folder: log is a link to ../outside",
)
PROCESSES = [
    case
    for case in CASES
    if case.name in FEW or (ALL and not case.passes and CASES.index(case) % 6 == 0)
]


def name_of(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a good run of one epoch."""
    config = with_trainer(
        monitor="min val_loss", ema_decay=0.9, save_dir=str(tmp_path_factory.mktemp("good"))
    )
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    trainer = make_trainer(config)
    trainer.train()
    close_files()
    return Path(trainer.checkpoint_dir)


@pytest.fixture
def here(tmp_path: Path, finished: Path) -> Path:
    """Where the programs run, with a good run in it and a victim beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("untouched")
    shutil.copytree(finished, tmp_path / "here" / "run")
    return tmp_path / "here"


def in_this_process(
    program: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[Outcome, str]:
    """Runs a program; returns what became of it, and what of that is not allowed."""
    sys.argv, said, status = [program, *words], "", 0
    with watched() as seen:
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        except TooSlow:
            said = f"takes over {SECONDS} seconds"
        except BaseException as error:
            said = f"a traceback: {type(error).__name__}: {str(error)[:200]}"
    close_files()
    output = capsys.readouterr()
    seen = [what for what in seen if not what.startswith("writes")]
    return Outcome(status, output.err.split("\n")[:-1], output.err + output.out), said or ", ".join(
        seen
    )


def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20


@pytest.mark.parametrize("program", ["train.py", "test.py"])
@pytest.mark.parametrize("case", CASES if ALL else CASES[::10], ids=name_of)
def test_a_hostile_checkpoint(
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
        before, inside = (
            snapshot(here.parent, besides="here/run"),
            snapshot(here / "run", besides="log"),
        )
        words = ["trainer.epochs=2"] if program == "train.py" else []
        outcome, said = in_this_process(program, ["-r", case.resume, *words], capsys)
    assert not said
    assert not changed(before, snapshot(here.parent, besides="here/run"))
    assert not problem(outcome, case.passes or (program == "test.py" and case.resume == "run"))
    if outcome.status == 2 and not case.passes:
        assert not changed(inside, snapshot(here / "run", besides="log"))


@pytest.mark.parametrize("path", ["runs/hostile", "runs/hostile/new"])
def test_a_resumed_run_in_a_new_folder_follows_no_link(
    path: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", sys.argv)
    linked(path, "../" * (path.count("/") + 1) + "outside")(here)
    before = snapshot(here.parent)
    words = ["-r", "run", "--run-id", "new", "trainer.save_dir=runs", "trainer.epochs=2"]
    outcome, said = in_this_process("train.py", words, capsys)
    assert not said
    assert not changed(before, snapshot(here.parent))
    assert not problem(outcome)


@pytest.mark.parametrize("case", PROCESSES, ids=name_of)
def test_as_a_process(case: Case, here: Path) -> None:
    program = ("train.py", "test.py")[PROCESSES.index(case) % 2]
    case.make(here / "run")
    before = snapshot(here.parent, besides="here/run")
    outcome = process(program, "-r", case.resume, cwd=here)
    assert not problem(outcome, case.passes or program == "test.py")
    assert not changed(before, snapshot(here.parent, besides="here/run"))
