"""Files that a crash leaves old or new, never half."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utils.errors import UserError


def temporary_path(path: Path) -> Path:
    """Where the new content of ``path`` is prepared: beside it, so that a rename is enough."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file that stands under ``path`` only once it is complete and on the disk."""
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


def fsync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` last; where folders cannot be synced (Windows), does nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock_file(path: Path) -> IO[bytes] | None:
    """Holds ``path`` for this process until the file is closed, or the process ends in any way.

    Returns:
        The open file; None where the system has no such locks.

    Raises:
        UserError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.register_at_fork(
            after_in_child=file.close
        )  # a loader's worker may outlive a killed training for a while
    except BlockingIOError:
        file.close()
        raise UserError(
            f"{path.parent.parent}: another process is training in this folder"
        ) from None
    except OSError:  # a network disk without locks
        pass
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds ``path`` by ``lock``; False where that cannot be known."""
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False
