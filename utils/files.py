"""Atomic writes, which a crash leaves undone or complete, and locks on files."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

from utils.errors import UserError

OPEN_FILES = Path("/proc/self/fd")
_locks: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()  # that this process holds

IS_LOCKED = "another process is training in this folder"


def temporary_path(path: Path) -> Path:
    """The path for the new content of ``path``, in the same folder, so that a rename is enough."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def expand_home(path: str | Path) -> str:
    """Returns a path with the home folder in place of a leading ``~``, and ``$SCRATCH/x`` likewise.

    Raises:
        UserError: there is no such user, or no such variable in the environment.
    """
    variable, slash, rest = str(path).partition(os.sep)
    if re.fullmatch(r"\$[A-Za-z_]\w*", variable):
        if variable[1:] not in os.environ:
            raise UserError(f"{path}: the environment has no variable {variable[1:]}")
        return f"{os.environ[variable[1:]]}{slash}{rest}"
    expanded = os.path.expanduser(path)  # noqa: PTH111  (Path's own raises a RuntimeError)
    if expanded.startswith("~"):
        user = expanded.partition(os.sep)[0]
        raise UserError(f"{path}: there is no home folder for {user}; './{user}' is a plain name")
    return expanded


def to_path(word: str) -> Path:
    """Returns the path that a word of the command line names."""
    return Path(expand_home(word))


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that replaces ``path`` once it is complete and on the disk.

    After an error, ``path`` is as before and no temporary file is left.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def write_text(path: Path, text: str) -> Path:
    """Writes a file completely or not at all, and makes its folder. Returns its path.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def fsync_folder(folder: Path) -> None:
    """Puts renames in ``folder`` on the disk. Does nothing where the system cannot (Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock_file(path: Path, waits: bool = False) -> IO[bytes] | None:
    """Locks ``path`` until the returned file is closed or the process ends in any way.

    Args:
        path: of an empty file, which is made if it is not there.
        waits: for another process that holds the lock.

    Returns:
        The open file; None where the system has no such locks.

    Raises:
        UserError: another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        _forget_locks_in_children()
        _locks.add(file)
    except BlockingIOError:
        file.close()
        raise UserError(f"{path.parent.parent}: {IS_LOCKED}") from None
    except OSError:  # a network disk without locks
        pass
    return file


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock of ``path``, and holds it during the context."""
    file = lock_file(path, waits=True)
    try:
        yield
    finally:
        if file is not None:
            file.close()


@cache
def _forget_locks_in_children() -> None:
    """Closes the locks in forked processes, such as workers, which may outlive a killed parent."""

    def close_all() -> None:
        for file in list(_locks):
            file.close()

    os.register_at_fork(after_in_child=close_all)


def is_locked(path: Path) -> bool:
    """Whether a process has locked ``path`` by ``lock_file``; False if that is unknown."""
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


def reopen_files() -> None:
    """Gives this process positions of its own in the files that it has open only to read.

    A forked process shares the positions with its parent, so that one reads what the other has
    looked for (h5py #934, CPython #82816). This needs Linux; elsewhere nothing happens.
    """
    if not OPEN_FILES.is_dir():
        return
    import fcntl

    for handle in [int(path.name) for path in OPEN_FILES.iterdir()]:
        with contextlib.suppress(OSError):  # the handle of this listing is closed
            is_file = stat.S_ISREG(os.fstat(handle).st_mode)
            if is_file and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                opened = os.open(OPEN_FILES / str(handle), os.O_RDONLY)
                os.lseek(opened, os.lseek(handle, 0, os.SEEK_CUR), os.SEEK_SET)
                os.dup2(opened, handle, inheritable=os.get_inheritable(handle))
                os.close(opened)
