"""Files that a crash leaves in the old or the new state, and locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files import (
    OPEN_FILES,
    atomic_write,
    expand_home,
    fsync_folder,
    is_locked,
    lock_file,
    reopen_files,
    to_path,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(b"old")
    return tmp_path / "a.bin"


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def test_a_file_is_replaced_once_it_is_complete(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.bin"]


def test_a_new_file_appears_once_it_is_complete(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "b.bin") as file:
        file.write(b"new")
        assert not (tmp_path / "b.bin").exists()
    assert (tmp_path / "b.bin").read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), TypeError()]
)
def test_an_error_leaves_the_old_file_and_nothing_beside_it(
    path: Path, error: BaseException
) -> None:
    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"ne")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["a.bin"]


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        steps.append("sync folder" if os.fstat(handle).st_mode & 0o040000 else "sync file")
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    with atomic_write(path) as file:
        file.write(b"new")
    assert steps == ["sync file", "rename", "sync folder"]


def test_a_tilde_is_the_home_folder() -> None:
    assert to_path("~/a/~") == Path.home() / "a" / "~"
    assert expand_home("a/~/b") == "a/~/b"
    with pytest.raises(UserError, match=r"there is no home folder for ~nobody-here; '\./~nobody"):
        expand_home("~nobody-here/a")


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path) -> None:
    fsync_folder(tmp_path / "none")


def test_a_lock_is_held_until_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log" / ".lock"
    path.parent.mkdir(parents=True)
    assert not is_locked(path)  # there is none
    file = lock_file(path)
    if file is None:
        pytest.skip("this system has no locks")
    assert is_locked(path)
    with pytest.raises(UserError, match="run: another process is training in this folder"):
        lock_file(path)
    file.close()
    assert not is_locked(path)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux")
def test_a_forked_process_gets_separate_positions_in_files(tmp_path: Path) -> None:
    """h5py #934: workers of a data loader read what another one has looked for."""
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    with path.open("rb", buffering=0) as file:
        file.seek(3)
        pid = os.fork()
        if pid == 0:
            reopen_files()
            was_kept = file.tell() == 3
            file.seek(8)
            os._exit(0 if was_kept and file.read(1) == b"8" else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert file.read(1) == b"3"


def test_a_variable_of_the_environment_begins_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/fast")
    assert expand_home("$SCRATCH/runs") == "/fast/runs"
    assert expand_home("a/$SCRATCH") == "a/$SCRATCH"
    monkeypatch.delenv("SCRATCH")
    with pytest.raises(UserError, match=r"^\$SCRATCH/runs: the environment has no variable"):
        expand_home("$SCRATCH/runs")
