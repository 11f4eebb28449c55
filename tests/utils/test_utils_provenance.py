"""Where a run comes from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils.provenance import collect_provenance, timestamp


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_the_facts_are_plain_values() -> None:
    facts = collect_provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["command"][0] == sys.executable
    assert facts["pid"] == os.getpid()
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert facts["machine"]["threads"] == torch.get_num_threads()


def test_the_time_has_its_offset() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", timestamp())


def test_the_commit_and_uncommitted_changes_are_recorded(
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
    assert facts["git_diff"] is None
    (tmp_path / "a").write_text("changed")
    facts = collect_provenance()
    assert facts["git_dirty"] is True
    assert "+changed" in facts["git_diff"]


def test_new_files_of_code_are_uncommitted_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.provenance.ROOT", tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "-q", "-m", "first")
    for name in ("tiny.py", "ignored.py", "picture.png"):
        (tmp_path / name).write_text(f"content of {name}\n")
    assert collect_provenance()["git_diff"] == (
        "\n--- /dev/null\n+++ b/tiny.py\n+content of tiny.py\n"
    )


def test_outside_of_a_repository_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.provenance.ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    facts = collect_provenance()
    assert (facts["git_commit"], facts["git_dirty"]) == (None, None)


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert collect_provenance()["git_commit"] is None


def test_a_missing_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.provenance.PACKAGES", ("no-such-package",))
    assert collect_provenance()["versions"]["no-such-package"] is None
