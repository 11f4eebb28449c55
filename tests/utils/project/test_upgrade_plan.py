"""What an upgrade does with one file, for each way in which two sides can change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from invented import Files, commit_all, make_project, read_files, upgrade_project

from utils.errors import UserError
from utils.project.git import Git
from utils.project.record import Record

LINES = "".join(f"line {number}\n" for number in range(9)).encode()
OLD: Files = {"a.py": LINES, "base/b.py": LINES, "picture.png": b"\x89PNG\0\1"}


@pytest.fixture
def project(tmp_path: Path) -> Git:
    return make_project(tmp_path / "project", OLD)


def upgrade(git: Git, new: Files, tmp_path: Path) -> dict[str, str]:
    """The kinds of the changes by path."""
    changes = upgrade_project(git, tmp_path / "new", new)
    return {change.path: change.kind.name for change in changes}


def edit(git: Git, path: str, old: bytes, new: bytes) -> None:
    file = git.folder / path
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    commit_all(git.folder)


def test_untouched_files_are_replaced_added_and_removed(project: Git, tmp_path: Path) -> None:
    new = {"a.py": b"new\n", "base/c.py": b"c\n", "picture.png": b"\x89PNG\0\2"}
    kinds = upgrade(project, new, tmp_path)
    assert kinds == {
        "a.py": "REPLACED",
        "base/b.py": "REMOVED",
        "base/c.py": "NEW",
        "picture.png": "REPLACED",
    }
    files = read_files(project.folder)
    assert {path: files[path] for path in new} == new
    assert "base/b.py" not in files
    assert Record.read(project.folder).version == "0.2.0"
    assert project.read("diff", "--name-only") == ""  # all of it is in the index


def test_edits_of_both_are_merged_and_executables_stay_so(project: Git, tmp_path: Path) -> None:
    (project.folder / "a.py").chmod(0o755)
    edit(project, "a.py", b"line 1\n", b"line 1\nmine\n")
    kinds = upgrade(project, {**OLD, "a.py": LINES.replace(b"line 7", b"seven")}, tmp_path)
    assert kinds == {"a.py": "MERGED"}
    merged = LINES.replace(b"line 1\n", b"line 1\nmine\n").replace(b"line 7", b"seven")
    assert (project.folder / "a.py").read_bytes() == merged
    assert os.access(project.folder / "a.py", os.X_OK)


def test_a_conflict_holds_both_sides_and_git_knows_of_it(project: Git, tmp_path: Path) -> None:
    edit(project, "a.py", b"line 4", b"mine")
    kinds = upgrade(project, {**OLD, "a.py": LINES.replace(b"line 4", b"theirs")}, tmp_path)
    assert kinds == {"a.py": "CONFLICT"}
    text = (project.folder / "a.py").read_text()
    marked = "<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> Plainloop new\n"
    assert marked in text
    assert project.read("diff", "--name-only", "--diff-filter=U") == "a.py"
    with pytest.raises(UserError, match="git commit failed"):
        project.run("commit", "-qm", "too early")
    project.run("checkout", "--ours", "a.py")
    assert b"mine" in (project.folder / "a.py").read_bytes()


def test_the_second_upgrade_finds_its_base_in_a_clone(project: Git, tmp_path: Path) -> None:
    """The framework's files of the first upgrade are in the history of the project."""
    edit(project, "a.py", b"line 1\n", b"line 1\nmine\n")
    second = LINES.replace(b"line 4", b"four")
    upgrade(project, {**OLD, "a.py": second}, tmp_path)
    project.run("commit", "-qm", "upgrade")
    Git(tmp_path).run("clone", "-q", project.folder, tmp_path / "clone")
    clone = Git(tmp_path / "clone")
    clone.run("config", "user.name", "Ada")
    third = second.replace(b"four", b"vier").replace(b"line 7", b"seven")
    changes = upgrade_project(clone, tmp_path / "third", {**OLD, "a.py": third}, "0.3.0")
    assert [change.kind.name for change in changes] == ["MERGED"]
    expected = third.replace(b"line 1\n", b"line 1\nmine\n")
    assert (clone.folder / "a.py").read_bytes() == expected


def test_what_the_framework_removes_stays_if_it_was_edited(project: Git, tmp_path: Path) -> None:
    edit(project, "base/b.py", b"line 4", b"mine")
    new = {"a.py": LINES, "picture.png": OLD["picture.png"], "base/moved/b.py": LINES}
    kinds = upgrade(project, new, tmp_path)
    assert kinds == {"base/b.py": "KEPT", "base/moved/b.py": "NEW"}
    assert b"mine" in (project.folder / "base/b.py").read_bytes()


def test_what_the_user_deleted_stays_deleted(project: Git, tmp_path: Path) -> None:
    for path in ("a.py", "base/b.py"):
        (project.folder / path).unlink()
    commit_all(project.folder)
    kinds = upgrade(project, {**OLD, "a.py": b"changed\n"}, tmp_path)
    assert kinds == {"a.py": "STAYS_DELETED"}
    assert not (project.folder / "a.py").exists()
    changes = upgrade_next(project, {**OLD, "a.py": b"again\n"}, tmp_path)
    assert changes == {"a.py": "STAYS_DELETED"}


def upgrade_next(git: Git, new: Files, tmp_path: Path) -> dict[str, str]:
    commit_all(git.folder)
    changes = upgrade_project(git, tmp_path / "next", new, "0.3.0")
    return {change.path: change.kind.name for change in changes}


@pytest.mark.parametrize("is_tracked", [True, False])
def test_a_file_of_the_user_is_never_overwritten(
    is_tracked: bool, project: Git, tmp_path: Path
) -> None:
    """Neither one that git ignores, such as data."""
    folder = project.folder
    (folder / "data").mkdir()
    (folder / "data/x.csv").write_bytes(b"mine\n")
    (folder / "unet.py").write_bytes(b"mine\n")
    (folder / ".gitignore").write_bytes(b"" if is_tracked else b"/data/\n/unet.py\n")
    commit_all(folder)
    kinds = upgrade(project, {**OLD, "unet.py": b"theirs\n", "data/x.csv": b"mine\n"}, tmp_path)
    assert kinds["unet.py"] == "BOTH_KEPT"
    assert (folder / "unet.py").read_bytes() == b"mine\n"
    assert (folder / "unet.py.plainloop").read_bytes() == b"theirs\n"
    assert (folder / "data/x.csv").read_bytes() == b"mine\n"


def test_a_picture_that_both_have_changed_is_kept_twice(project: Git, tmp_path: Path) -> None:
    edit(project, "picture.png", b"\1", b"\7")
    kinds = upgrade(project, {**OLD, "picture.png": b"\x89PNG\0\2"}, tmp_path)
    assert kinds == {"picture.png": "BOTH_KEPT"}
    assert (project.folder / "picture.png").read_bytes() == b"\x89PNG\0\7"
    assert (project.folder / "picture.png.plainloop").read_bytes() == b"\x89PNG\0\2"


@pytest.mark.parametrize("edited", [False, True])
def test_line_ends_of_windows_survive(edited: bool, project: Git, tmp_path: Path) -> None:
    yours = LINES.replace(b"\n", b"\r\n")
    if edited:
        yours = yours.replace(b"line 1\r\n", b"line 1\r\nmine\r\n")
    (project.folder / "a.py").write_bytes(yours)
    commit_all(project.folder)
    kinds = upgrade(project, {**OLD, "a.py": LINES.replace(b"line 7", b"seven")}, tmp_path)
    assert kinds == {"a.py": "MERGED" if edited else "REPLACED"}
    assert (project.folder / "a.py").read_bytes() == yours.replace(b"line 7", b"seven")


@pytest.mark.parametrize("obstacle", ["link", "file", "folder"])
def test_a_link_a_file_and_a_folder_in_the_way_stay(
    obstacle: str, project: Git, tmp_path: Path
) -> None:
    """A folder of the user's may be a link to another disk."""
    target = project.folder / "model"
    if obstacle == "link":
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    elif obstacle == "file":
        target.write_bytes(b"mine\n")
    else:
        (target / "net.py").mkdir(parents=True)
        (target / "net.py/x").write_bytes(b"mine\n")
    commit_all(project.folder)
    before = read_files(project.folder)
    kinds = upgrade(project, {**OLD, "model/net.py": b"theirs\n"}, tmp_path)
    assert kinds == {"model/net.py": "BOTH_KEPT" if obstacle == "folder" else "BLOCKED"}
    after = read_files(project.folder)
    assert {path: after[path] for path in before if path != ".plainloop.json"} == {
        path: content for path, content in before.items() if path != ".plainloop.json"
    }
    assert not (tmp_path / "elsewhere/net.py").exists()


def test_a_hidden_change_is_kept(project: Git, tmp_path: Path) -> None:
    """git does not look at such a file, and would not restore it."""
    project.run("update-index", "--assume-unchanged", "a.py")
    (project.folder / "a.py").write_bytes(b"secret\n")
    kinds = upgrade(project, {**OLD, "a.py": b"theirs\n"}, tmp_path)
    assert kinds == {"a.py": "BOTH_KEPT"}
    assert (project.folder / "a.py").read_bytes() == b"secret\n"
