"""The storage of a search: where it is, and one line for each fault."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import pytest

from base.groups.study import storage
from base.groups.study.storage import make_error, mask
from tests.base.groups.study.studies import make_study
from utils.errors import UserError

URLS = {
    "postgresql+psycopg://me:secret@127.0.0.1:1/x": "Connection refused",
    "postgresql+psycopg://me:sec@ret@127.0.0.1:1/x": "a password is written with %40 for @",
    "postgresql+psycopg://me:secret@127.0.0.1:port/x": "port",
    "postgresql+pg8000://me:secret@127.0.0.1/x": "not installed: No module named 'pg8000'",
    "redis://:secret@127.0.0.1:1": "",
    "nothing://me:secret@127.0.0.1/x": "Can't load plugin",
    "postgresql+psycopg//me:secret@127.0.0.1/x": "is no URL",
    "sqlite://": "keeps nothing",
    "sqlite:////no/such/folder/x.db": "unable to open database file",
    "": "is no URL",
}


@pytest.mark.parametrize("url", URLS)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_study(tmp_path, storage=url)
    (problem,) = caught.value.problems
    assert problem.key == "search.storage"
    assert URLS[url] in problem.message
    assert "sec" not in problem.message
    assert "ret@" not in problem.message
    assert "\n" not in problem.message


def test_a_password_is_masked_in_urls_and_errors() -> None:
    assert mask("mysql://me:a/b:c@host/x") == "mysql://me:***@host/x"
    assert mask("postgresql:///x?user=me&password=abc") == "postgresql:///x?user=me&password=***"
    error = make_error(ValueError("wrong: p@ss"), "mysql://me:p%40ss@host/x")
    assert "p@ss" not in str(error)
    assert "p%40ss" not in str(error)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "storage.db").write_bytes(content * 10)
    with pytest.raises(UserError, match=r"storage.db cannot be used: "):
        make_study(tmp_path)


@pytest.mark.parametrize("name", ["a b", "a?b", "a%20b#c", "é{}"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    make_study(tmp_path / name)
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == [".lock", "storage.db"]


def test_optuna_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install '\.\[search\]'"):
        make_study(tmp_path)


def test_a_busy_storage_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that restarts refuses connections for a while."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    pauses: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    study = make_study(tmp_path)

    def refuse(*_: object) -> None:
        if len(pauses) < 2:
            raise ConnectionError("refused")

    event.listen(Engine, "before_cursor_execute", refuse)
    try:
        study.list_trials()
    finally:
        event.remove(Engine, "before_cursor_execute", refuse)
    assert pauses == [1, 2]
    assert "refused; trying again in 1 s" in caplog.text


def test_optuna_neither_logs_nor_warns_nor_stays_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    filters = list(warnings.filters)
    level = logging.getLogger().level
    sampler = {"type": "TPESampler", "args": {"multivariate": True, "group": True}}
    study = make_study(tmp_path, sampler=sampler)
    study.fail(study.propose() or 0, "no memory")
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before
    assert warnings.filters == filters
    assert logging.getLogger().level == level


def test_a_server_without_the_runs_of_a_search_is_refused(tmp_path: Path) -> None:
    """Its folder was deleted, or the machines share no disk."""
    url = f"sqlite:///{tmp_path}/shared.db"
    study = make_study(tmp_path / "one", storage=url)
    study.finish(study.propose() or 0, 1.0)
    make_study(tmp_path / "one", storage=url)
    with pytest.raises(UserError, match=r"another folder than .*two; choose another --run-id"):
        make_study(tmp_path / "two", storage=url)
