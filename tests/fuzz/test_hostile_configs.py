"""A stranger's config runs nothing, writes nothing, and gets a message about its mistake."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

import base  # noqa: F401  (before the time limit starts)
from base.schema import SCHEMA
from config import ConfigParser
from config.read.tree import ConfigError
from tests.fuzz.hostile_configs import make_cases
from tests.fuzz.hostile_names import Case
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
from utils.errors import UserError

CASES = make_cases()
CHECKED = CASES if ALL else [case for case in CASES if not case.is_slow][::5]
# Only a complete run shows what a config does that may pass the check.
RUNNABLE = [case for case in CASES if case.may_pass or case.is_slow]
REFUSED = [
    case
    for case in CASES  # no argument of a process has a NUL
    if case not in RUNNABLE and "\0" not in f"{case.config}{case.run_id}"
]
PROCESSES = RUNNABLE + REFUSED[::10]
FIRST = (
    "link: runs/hostile/r/log to a folder",
    "letters: colours in a key",
    "type: a shell",
    "bomb: a billion laughs",
)


def get_name(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder where the program runs, beside a file that it must not touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("untouched")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def write(case: Case, here: Path) -> str:
    """Writes the case's files; returns the argument of ``-c``."""
    for name, content in case.files.items():
        (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    case.prepare(here)
    return case.config or next(iter(case.files))


def check_config(config: str, case: Case) -> tuple[Outcome, list[str], str]:
    """Reads and checks a config as train.py does.

    Returns:
        the outcome; all problems that were found, where the outcome's lines have the first twenty;
        and what the program must not do but did, or an empty string.
    """
    args = argparse.Namespace(
        config=config,
        resume=None,
        device=None,
        overrides=list(case.words),
        run_id=case.run_id,
        check=False,
    )
    try:
        with watched() as seen:
            ConfigParser.from_args(args).check(SCHEMA)
    except UserError as error:
        problems: list[object] = [error]
        if isinstance(error, ConfigError):
            problems = [*error.findings]
        lines = str(error).split("\n")
        return Outcome(2, lines), list(map(str, problems)), ", ".join(seen)
    except TooSlow:
        return Outcome(0, []), [], f"takes over {MAX_SECONDS} seconds"
    except BaseException as error:
        return Outcome(0, []), [], f"a traceback: {type(error).__name__}: {str(error)[:200]}"
    return Outcome(0, []), [], ", ".join(seen)


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert len(PROCESSES) >= 25


@pytest.mark.parametrize("case", CHECKED, ids=get_name)
def test_the_check_refuses_a_hostile_config(
    case: Case, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    config = write(case, here)
    before = snapshot(here.parent)
    outcome, problems, forbidden = check_config(config, case)
    assert not forbidden
    assert not find_changes(before, snapshot(here.parent))
    assert not find_problem(outcome, case.may_pass)
    if outcome.status == 2:
        message = "\n".join(problems)
        assert [text for text in case.expected if text not in message] == []


def snapshot_runs(here: Path) -> dict[str, Any]:
    return snapshot(here / "runs") if (here / "runs").exists() else {}


@pytest.mark.parametrize(
    "case", PROCESSES if ALL else [case for case in PROCESSES if case.name in FIRST], ids=get_name
)
def test_train_py_does_no_harm_with_a_hostile_config(case: Case, here: Path) -> None:
    config = write(case, here)
    words = ["-c", config, *case.words]
    if case.run_id:
        words += ["--run-id", case.run_id]
    before = snapshot(here.parent, besides="here/runs")
    runs = snapshot_runs(here)
    encoded = [word.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for word in words]
    outcome = run_process("train.py", *encoded, cwd=here)
    assert not find_problem(outcome, case.may_pass)
    assert not find_changes(before, snapshot(here.parent, besides="here/runs"))
    if outcome.status == 2 and not case.may_pass:
        assert not find_changes(runs, snapshot_runs(here))
