"""A migrated project has a record, with which later versions of the framework come into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import TEMPLATE

from tests.helpers import ROOT, copy_project
from utils.project.git import Git
from utils.project.record import Record, get_blob_id
from utils.project.source import open_framework
from utils.project.taken import take_again
from utils.upgrade import main, make_parser
from utils.version import VERSION

UTIL = TEMPLATE["utils/util.py"].replace("return n_gpu_use", "return n_gpu_use + 1")
CHANGES = {"utils__util": UTIL, "config": "ANSWER = 42\n"}  # then modules have other names


def commit(folder: Path) -> Git:
    git = Git(folder)
    git.run("init", "-q")
    git.run("add", "-A")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.invalid")
    git.run(*identity, "commit", "-qm", "migrated")
    return git


@pytest.mark.parametrize("changes", [{}, CHANGES])
def test_the_record_holds_what_was_written(changes, migrate, tmp_path):
    _, _, folder = migrate(**changes)
    record = Record.read(folder)
    assert record.version == VERSION
    assert "base/base_trainer.py" in record.files
    assert not [path for path in record.files if path.startswith(("model/", "data_loader/"))]
    for path, blob_id in record.files.items():
        assert get_blob_id((folder / path).read_bytes()) == blob_id, path
    assert take_again(ROOT, tmp_path / "again", record.migration).files == record.files


@pytest.mark.parametrize("changes", [{}, CHANGES])
def test_a_migrated_project_upgrades(changes, migrate, tmp_path, capsys, monkeypatch):
    _, _, folder = migrate(**changes)
    git = commit(folder)
    newer = copy_project(tmp_path / "newer")
    (newer / "utils/version.py").write_text('"""Version."""\n\nVERSION = "99.0.0"\n')
    trainer = newer / "base/base_trainer.py"
    trainer.write_text(f"{trainer.read_text()}\nLATER = 1\n")
    (newer / "base/later.py").write_text("from config import ConfigParser\n")
    before = {path: (folder / path).read_bytes() for path in git.list_files()}
    monkeypatch.setattr("utils.upgrade.hand_over", lambda framework, *rest: hand_over(newer, *rest))
    args = make_parser().parse_args([str(newer), "--check"])
    args.project = folder
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "conflict" not in out
    assert before == {path: (folder / path).read_bytes() for path in git.list_files()}
