"""Files that data and models keep in the folder of a run, such as a tokenizer."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from utils.distributed import is_main
from utils.errors import UserError


class _Folders:
    """The folders of the current run.

    Attributes:
        target: where the run keeps things; None if nothing does.
        source: where the resumed or tested run has kept them; None for a new run.
        written: the names that this process has kept.
    """

    target: Path | None = None
    source: Path | None = None
    written: ClassVar[set[str]] = set()


def set_run_folders(target: Path | None, checkpoint: Path | None) -> None:
    """Says where the run keeps things, and from which checkpoint it continues, if from any."""
    _Folders.target = target
    _Folders.source = None if checkpoint is None else checkpoint.parent
    _Folders.written.clear()


@contextlib.contextmanager
def reading_from(checkpoint: Path | None) -> Iterator[None]:
    """Inside, data and models find what the run of a checkpoint has kept, and keep nothing."""
    before = _Folders.target, _Folders.source, set(_Folders.written)
    set_run_folders(None, checkpoint)
    try:
        yield
    finally:
        _Folders.target, _Folders.source = before[:2]
        _Folders.written.update(before[2])


def find_kept(name: str) -> Path | None:
    """The folder ``name`` that this run, or the one that it continues, has kept; else None.

    Raises:
        UserError: a run is resumed or tested, and its folder lacks it.
    """
    target, source = _Folders.target, _Folders.source
    if source is None:
        is_ours = name in _Folders.written or not is_main()  # and not of a run that failed there
        is_found = target is not None and is_ours and (target / name).is_dir()
        return target / name if is_found and target is not None else None
    kept = source / name
    if not kept.is_dir():
        message = f"{kept} is missing, with which the run was trained"
        raise UserError(f"{message}; copy it there from the folder of the run")
    if target is not None and target.resolve() != source.resolve():
        keep(name, lambda folder: shutil.copytree(kept, folder, dirs_exist_ok=True))
    return kept


def keep(name: str, write: Callable[[Path], object]) -> None:
    """Keeps a folder ``name`` with the run, if there is a run.

    The main rank writes it. A run that is killed meanwhile has either all of it or nothing.

    Args:
        name: of the folder.
        write: writes the files into an empty folder.

    Raises:
        UserError: it cannot be written.
    """
    target = _Folders.target
    if target is None or name in _Folders.written or not is_main():
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target) as temporary:
            new = Path(temporary, name)
            new.mkdir()
            write(new)
            shutil.rmtree(target / name, ignore_errors=True)
            new.replace(target / name)
    except OSError as error:
        raise UserError(f"{target / name}: cannot be written: {error.strerror}") from None
    _Folders.written.add(name)
