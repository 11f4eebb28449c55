"""A migrated project has a record, with which later versions of the framework come into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import TEMPLATE

from tests.forked import run_forked
from tests.helpers import ROOT, copy_project
from utils.project.git import Git
from utils.project.record import Record, get_blob_id
from utils.project.taken import take_again
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
    assert "base/options.py" in record.files
    assert not [path for path in record.files if path.startswith(("model/", "data_loader/"))]
    for path, blob_id in record.files.items():
        assert get_blob_id((folder / path).read_bytes()) == blob_id, path
    assert take_again(ROOT, tmp_path / "again", record.migration).files == record.files


@pytest.mark.parametrize("changes", [{}, CHANGES])
def test_a_migrated_project_upgrades(changes, migrate, tmp_path):
    _, _, folder = migrate(**changes)
    (folder / "trainer/trainer.py").write_text("# mine\n")
    files = Record.read(folder).files
    edited = folder / next(path for path in files if path.endswith("util.py"))
    edited.write_text(f"# mine\n{edited.read_text()}")
    commit(folder)
    newer = copy_project(tmp_path / "newer")
    (newer / "utils/version.py").write_text('"""Version."""\n\nVERSION = "99.0.0"\n')
    util = newer / "utils/util.py"
    util.write_text(f"{util.read_text()}\nLATER = 1\n")
    (newer / "base/later.py").write_text("from config import ConfigParser\n")
    done = run_forked("-m", "utils.upgrade", "--project", folder, "--check", cwd=newer)
    assert (done.returncode, done.stderr) == (0, "")
    done = run_forked("-m", "utils.upgrade", "--project", folder, cwd=newer)
    assert "in conflict" not in done.stdout
    text = edited.read_text()
    assert text.startswith("# mine\n")
    assert text.endswith("LATER = 1\n")
    package = "plainloop_config" if changes else "config"
    assert (folder / "base/later.py").read_text() == f"from {package} import ConfigParser\n"
    assert (folder / "trainer/trainer.py").read_text() == "# mine\n"
    assert Record.read(folder).version == "99.0.0"
