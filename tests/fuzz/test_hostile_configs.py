"""A config from a stranger runs nothing, writes nothing and says nothing but what is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

import base  # noqa: F401  (before the clock runs)
from base.schema import SCHEMA
from config import ConfigParser
from tests.fuzz.hostile_configs import Case, cases
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
from utils.errors import UserError

CASES = cases()
QUICK = CASES if ALL else [case for case in CASES if not case.slow][::5]
# The rest of these pass the check, so that only a whole run shows what they do.
WHOLE = [case for case in CASES if case.passes or case.slow]
PROCESSES = (
    WHOLE
    + [case for case in CASES if case not in WHOLE and "\0" not in f"{case.config}{case.run_id}"][
        ::10
    ]
)
FIRST = (
    "link: runs/hostile/r/log to a folder",
    "letters: colours in a key",
    "type: a shell",
    "bomb: a billion laughs",
)


def name_of(case: Case) -> str:
    return case.name.encode("unicode_escape").decode()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the program runs, with a victim beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("untouched")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def laid(case: Case, here: Path) -> str:
    """Writes the case's files; returns what follows ``-c``."""
    for name, content in case.files.items():
        (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    case.prepare(here)
    return case.config or next(iter(case.files))


def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert len(PROCESSES) >= 25


@pytest.mark.parametrize("case", QUICK, ids=name_of)
def test_the_check(case: Case, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    config = laid(case, here)
    before, said = snapshot(here.parent), ""
    args = argparse.Namespace(
        config=config,
        resume=None,
        device=None,
        overrides=list(case.words),
        run_id=case.run_id,
        check=False,
    )
    outcome, told = Outcome(0, []), ""
    try:
        with watched() as seen:
            ConfigParser.from_args(args).check(SCHEMA)
    except UserError as error:
        outcome = Outcome(2, str(error).split("\n"))
        told = "\n".join(
            map(str, getattr(error, "findings", [error]))
        )  # those past the twentieth too
    except TooSlow:
        said = f"takes over {SECONDS} seconds"
    except BaseException as error:
        said = f"a traceback: {type(error).__name__}: {str(error)[:200]}"
    said = (
        said
        or ", ".join(seen)
        or changed(before, snapshot(here.parent))
        or problem(outcome, case.passes)
    )
    assert not said
    assert outcome.status == 0 or [word for word in case.tells if word not in told] == []


@pytest.mark.parametrize(
    "case", PROCESSES if ALL else [c for c in PROCESSES if c.name in FIRST], ids=name_of
)
def test_the_whole_program(case: Case, here: Path) -> None:
    config = laid(case, here)
    words = ["-c", config, *case.words, *(["--run-id", case.run_id] if case.run_id else [])]
    before = snapshot(here.parent, besides="here/runs")
    runs = snapshot(here / "runs") if (here / "runs").exists() else {}
    outcome = process(
        "train.py",
        *[word.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for word in words],
        cwd=here,
    )
    assert not problem(outcome, case.passes)
    assert not changed(before, snapshot(here.parent, besides="here/runs"))
    if outcome.status == 2 and not case.passes:
        assert not changed(runs, snapshot(here / "runs") if (here / "runs").exists() else {})
