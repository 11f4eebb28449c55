"""A new folder that is written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError, one_line


def check_new_folder(target: Path, label: str, outside: Path, what: str) -> None:
    """Checks that a folder can be made.

    Args:
        target: the folder. It may exist if it is empty.
        label: how errors name it, such as the words of the command line.
        outside: another folder, which it must not be in.
        what: a word for this folder.

    Raises:
        UserError: the folder cannot be made.
    """
    is_folder = target.is_dir() and not target.is_symlink()
    if os.path.lexists(target) and not (is_folder and not any(target.iterdir())):
        raise UserError(f"{label}: exists and is not an empty folder; give a new name")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise UserError(f"{label}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise UserError(f"{label}: cannot be written: no right to write in {parent}")
    if target.resolve().is_relative_to(outside.resolve()):
        raise UserError(f"{label}: is inside the {what}; give a folder outside of {outside}")


@contextlib.contextmanager
def write_new_folder(target: Path, label: str) -> Iterator[Path]:
    """Yields the path of a folder beside ``target`` to write to. It is renamed at the end.

    After an error, ``target`` is as before, and no other folder is left.

    Args:
        target: the new folder. It may exist if it is empty.
        label: how errors name it.

    Raises:
        UserError: a file or folder could not be written.
    """
    target = target.absolute()
    temporary = target.parent / f".{target.name}.{os.getpid()}.new"
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UserError(f"{label}: cannot be written: {reason}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
