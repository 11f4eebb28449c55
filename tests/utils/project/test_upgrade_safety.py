"""Nothing is lost: an upgrade is refused, complete, or undone by one command of git."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from invented import (
    Files,
    commit_all,
    make_project,
    make_record,
    plan_upgrade,
    read_files,
    upgrade_project,
    write_files,
)

from tests.forked import run_forked
from tests.helpers import ROOT
from utils.errors import UserError
from utils.project.apply import Upgrade, check_tree
from utils.project.git import Git

OLD: Files = {"a.py": b"a\n", "base/b.py": b"b\n", "base/c.py": b"c\n"}
NEW: Files = {"a.py": b"new a\n", "base/b.py": b"new b\n", "base/d/e.py": b"new\n"}
RESTORE = ("reset", "-q", "--hard", "plainloop/before-0.2.0")
# An upgrade that kills itself before one of the steps that can change something.
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[3])
import invented
folder, new, left = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), [int(sys.argv[4])]

def end_at(event, arguments):
    if event in ("subprocess.Popen", "os.rename", "os.remove", "os.chmod"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(end_at)
invented.upgrade_project(invented.Git(folder), new, invented.read_files(new))
"""


@pytest.fixture
def project(tmp_path: Path) -> Git:
    """A project with an edit that is in conflict with ``NEW``, and with files git does not know."""
    git = make_project(tmp_path / "project", OLD)
    write_files(git.folder, {"base/b.py": b"my b\n", ".gitignore": b"/saved/\n"})
    commit_all(git.folder)
    write_files(git.folder, {"saved/run/x": b"weights\n", "notes.txt": b"not in git\n"})
    return git


def test_one_command_undoes_an_upgrade_before_and_after_its_commit(
    project: Git, tmp_path: Path
) -> None:
    before = read_files(project.folder)
    for is_committed in (False, True):
        upgrade_project(project, tmp_path / "new", NEW)
        assert read_files(project.folder) != before
        if is_committed:
            project.run("add", "-u")
            project.run("commit", "-qm", "upgrade")
        project.run(*RESTORE)
        assert read_files(project.folder) == before
        assert project.read("status", "--porcelain") == "?? notes.txt"


def test_an_upgrade_that_was_killed_is_undone_by_git(project: Git, tmp_path: Path) -> None:
    before = read_files(project.folder)
    write_files(tmp_path / "new", NEW)
    changed_count, step = 0, 1
    while True:
        words = (project.folder, tmp_path / "new", Path(__file__).parent, step)
        done = run_forked("-c", KILLED, *map(str, words), cwd=ROOT)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        changed_count += read_files(project.folder) != before
        if project.read("rev-parse", "-q", "--verify", "plainloop/before-0.2.0"):
            project.run("reset", "-q", "--hard", "HEAD" if step % 4 == 1 else RESTORE[-1])
        assert read_files(project.folder) == before, step
        check_tree(project)
        step += 2  # half of the steps are enough to see each kind
    assert changed_count > 0


def test_a_full_disk_leaves_the_project_as_it_was(
    project: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_files(project.folder)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_files(tmp_path / "new", NEW)
    changes = plan_upgrade(project, NEW)
    writer = Upgrade(project, project.list_files())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"No space left on device; it is as before") as info:
        writer.apply(changes, make_record("0.2.0", NEW), tmp_path / "new", "Upgrade")
    assert "\n" not in str(info.value)
    assert read_files(project.folder) == before
    check_tree(project)


def test_a_project_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    top = make_project(tmp_path / "repository", {"other/a.py": b"not the project's\n"})
    git = make_project(top.folder / "mine", OLD)
    kinds = {change.kind.name for change in upgrade_project(git, tmp_path / "new", NEW)}
    assert kinds == {"NEW", "REPLACED", "REMOVED"}
    assert read_files(top.folder / "other") == {"a.py": b"not the project's\n"}
    commit_all(git.folder)
    assert NEW.items() <= read_files(git.folder).items()
    newer = {**NEW, "a.py": b"newer\n"}
    changes = upgrade_project(git, tmp_path / "next", newer, "0.3.0")
    assert [change.path for change in changes] == ["a.py"]
    git.run("reset", "-q", "--hard")
    (top.folder / "other/a.py").write_bytes(b"changed\n")
    with pytest.raises(UserError, match=r"such as other/a.py"):  # git would undo this change too
        check_tree(git)


def test_a_tree_that_git_cannot_restore_is_refused_in_a_line(project: Git, tmp_path: Path) -> None:
    (project.folder / "a.py").write_bytes(b"not committed\n")
    with pytest.raises(UserError, match=r"not committed, such as a.py; commit or stash"):
        check_tree(project)
    commit_all(project.folder)
    upgrade_project(project, tmp_path / "new", NEW)
    with pytest.raises(UserError, match=r"the upgrade to 0.2.0 is not committed; `git commit`"):
        check_tree(project)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match=r"not under git.*run `git init`"):
        check_tree(Git(tmp_path / "plain"))
    Git(tmp_path / "plain").run("init", "-q")
    with pytest.raises(UserError, match=r"has no commit yet"):
        check_tree(Git(tmp_path / "plain"))


def test_without_git_there_is_one_line(project: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"git is not installed"):
        check_tree(Git(project.folder))


def test_an_earlier_backup_of_another_commit_stays(project: Git, tmp_path: Path) -> None:
    first = project.read("rev-parse", "HEAD")
    project.run("branch", "plainloop/before-0.2.0")
    (project.folder / "mine.py").write_bytes(b"mine\n")
    commit_all(project.folder)
    upgrade_project(project, tmp_path / "new", NEW)
    assert project.read("rev-parse", "plainloop/before-0.2.0") == first
    second = project.read("rev-parse", "plainloop/before-0.2.0-2")
    assert second == project.read("rev-parse", "HEAD")
    with pytest.raises(UserError, match=r"`git reset --hard HEAD` undoes it"):  # not to the first
        check_tree(project)
