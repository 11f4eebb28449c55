"""Where a run came from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils import provenance as module
from utils.provenance import collect_provenance, timestamp


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_the_facts_are_plain_values() -> None:
    facts = collect_provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["command"][0] == sys.executable
    assert facts["pid"] == os.getpid()
    assert (
        facts["versions"]["torch"] == torch.__version__.partition("+")[0]
        or facts["versions"]["torch"]
    )
    assert facts["machine"]["threads"] == torch.get_num_threads()


def test_the_time_has_its_offset() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", timestamp())


def test_the_commit_and_whether_it_was_changed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.provenance.ROOT", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "a").touch()
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    facts = collect_provenance()
    assert re.fullmatch(r"[0-9a-f]{40,64}", facts["git_commit"])
    assert facts["git_dirty"] is False
    (tmp_path / "b").touch()
    assert collect_provenance()["git_dirty"] is True


def test_outside_of_git_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.provenance.ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    facts = collect_provenance()
    assert (facts["git_commit"], facts["git_dirty"]) == (None, None)


def test_without_git_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert collect_provenance()["git_commit"] is None


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    assert collect_provenance()["versions"]["no-such-package"] is None
