"""One checkpoint file. A crash leaves the old or the new file, and reading it runs no code."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import torch

from utils.checkpoints import TEMPLATE_SUFFIXES, list_checkpoints
from utils.errors import UserError, one_line
from utils.files import atomic_write, fsync_folder, temporary_path

FORMAT = 1  # the version of the checkpoint format

# Files of torch begin with this. Those of very old versions are a bare pickle without checksums.
ZIP_START = b"PK\x03\x04"
ZIP_END = b"PK\x05\x06"  # 22 bytes before the end of a zip file without a comment
# The seal is the comment of the zip file: this text and 8 hex digits.
SEAL = b"crc32 of all but the records: "


class TensorStore:
    """Keeps the tensors of a checkpoint in its file.

    Other stores (``base/checkpoint/sharded.py``) keep them in files beside it. The file refers to
    those under the key ``marker``. All ranks must call ``write`` and ``read``.

    Attributes:
        option: the option of ``trainer`` that selects this store.
        marker: the key in a file that shows which store has written it.
    """

    option: ClassVar[str] = ""
    marker: ClassVar[str] = ""

    def write(self, state: dict[str, Any], path: Path) -> dict[str, Any]:
        """Writes tensors into files beside ``path``; returns the state for the file at ``path``."""
        return state

    def verify(self, state: dict[str, Any], path: Path) -> None:
        """Compares the checksums of the files beside ``path``. Raises UserError."""

    def read(
        self, state: dict[str, Any], path: Path, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the state with the data of its tensors.

        Args:
            state: the content of the file at ``path``.
            path: the file of the checkpoint.
            like: tensors by dotted name, for example ``state_dict.fc.weight``. If such a tensor is
                sharded, this rank reads only its shard. All other tensors are read in full.
        """
        return state

    def remove_unused(self, folder: Path) -> None:
        """Deletes the tensor files that no checkpoint in ``folder`` needs any more."""

    def list_files(self, path: Path) -> list[Path]:
        """Lists the files beside a checkpoint that hold its tensors."""
        return []


def find_store(state: dict[str, Any], path: Path) -> TensorStore:
    """Finds the store that has written the tensors of the checkpoint at ``path``.

    Raises:
        UserError: this project has no such store.
    """
    from base import features

    for kind in features.of_kind(TensorStore):
        if kind.marker in state:
            return kind()
    weights = state.get("state_dict")
    values = weights.values() if isinstance(weights, dict) else ()
    if any(isinstance(value, torch.Tensor) and value.is_meta for value in values):
        message = "its tensors are in other files, and this project has no feature to read them"
        raise UserError(f"{path}: {message}: see base/features.py")
    return TensorStore()


def list_tensor_files(path: Path) -> list[Path]:
    """Lists the files beside a checkpoint that hold its tensors."""
    from base import features

    kinds = features.of_kind(TensorStore)
    return [file for kind in kinds for file in kind().list_files(path)]


def remove_unused_files(folder: Path) -> None:
    """Deletes files that no checkpoint in ``folder`` needs, and leftovers of interrupted saves."""
    from base import features

    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    for kind in features.of_kind(TensorStore):
        kind().remove_unused(folder)


# -- writing ------------------------------------------------------------------------------------


def save(state: dict[str, Any], path: Path) -> None:
    """Writes ``state`` (tensors and plain values) to ``path``, atomically and durably.

    Raises:
        UserError: the file cannot be written, for example because the disk is full. An older file
            at ``path`` stays intact.
    """
    if torch.accelerator.is_available():
        from base.checkpoint.snapshot import move_to_cpu

        state = move_to_cpu(state)
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
            _write_seal(file)
    except (OSError, RuntimeError) as error:
        # torch turns a failed write into a RuntimeError, whose context is the cause.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        message = f"{path}: the checkpoint could not be written: {cause.strerror}"
        raise UserError(message) from error


def _write_seal(file: IO[bytes]) -> None:
    """Appends the CRC-32 of all bytes that the checksums of torch's records do not cover."""
    with zipfile.ZipFile(file) as archive:
        crc = _crc_between_records(file, archive.infolist(), file.seek(-2, os.SEEK_END))
    seal = SEAL + f"{crc:08x}".encode()
    file.seek(-2, os.SEEK_END)  # the length of the comment, still 0
    file.write(len(seal).to_bytes(2, "little") + seal)


def _crc_between_records(file: IO[bytes], records: list[zipfile.ZipInfo], end: int) -> int:
    """The CRC-32 of all bytes before ``end``, except for the contents of the records."""
    crc = position = 0
    for record in sorted(records, key=lambda record: record.header_offset):
        file.seek(record.header_offset + 26)  # here are the lengths of the name and the padding
        name_length = int.from_bytes(file.read(2), "little")
        padding_length = int.from_bytes(file.read(2), "little")
        content = record.header_offset + 30 + name_length + padding_length
        file.seek(position)
        crc = zlib.crc32(file.read(max(0, content - position)), crc)
        position = content + record.compress_size
    file.seek(position)
    return zlib.crc32(file.read(max(0, end - position)), crc)


def duplicate(path: Path, other: Path) -> None:
    """Makes ``other`` a hard link to ``path``, or a copy if the disk has no hard links."""
    if other.exists() and other.samefile(path):
        return  # renaming a link to another link of the same file would leave both
    temporary = temporary_path(other)
    with contextlib.suppress(OSError):
        temporary.unlink()
    try:
        os.link(path, temporary)
    except OSError:
        with atomic_write(other) as file:
            file.write(path.read_bytes())
        return
    temporary.replace(other)
    fsync_folder(other.parent)


# -- reading ------------------------------------------------------------------------------------


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Reads a checkpoint of this framework or of pytorch-template, with all its tensors.

    Raises:
        UserError: the file is missing or damaged, or holds more than tensors and plain values.
    """
    return complete(load_file(path, map_location), path)


def complete(
    state: dict[str, Any], path: Path, like: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Completes the return value of ``load_file``.

    Tensors in other files are read, see ``TensorStore.read``. Encoded values are rebuilt.

    Raises:
        UserError: tensors cannot be read, or an encoded value is damaged.
    """
    from base.checkpoint.plain import restore_types

    state = find_store(state, path).read(state, path, like)
    try:
        restored: dict[str, Any] = restore_types(state)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    return restored


def load_file(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Reads only the file. Tensors that are kept in files beside it have no data yet.

    The checksums are compared first. Then the file is read without running any code in it.

    Raises:
        UserError: as ``load`` does.
    """
    verify(path)
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        from base.checkpoint.foreign import read_refused

        state = read_refused(path, map_location, error)
    except Exception as error:  # a truncated file of an old format raises almost anything
        raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    if any(isinstance(value, int) and value.bit_length() > 63 for value in state.values()):
        raise UserError(f"{path}: damaged checkpoint: a number in it has too many digits")
    find_store(state, path).verify(state, path)
    return state


def load_newest(path: Path, logger: logging.Logger) -> tuple[dict[str, Any], Path]:
    """Reads ``path`` by ``load_file``, or the newest intact checkpoint before it.

    Returns:
        The state, and the path of the file that was read.

    Raises:
        UserError: ``path`` cannot be read, and no intact checkpoint was written before it.
    """
    try:
        return load_file(path), path
    except UserError as error:
        older = list_checkpoints(path.parent)
        older = older[older.index(path) + 1 :] if path in older else []
        for candidate in older:
            try:
                state = load_file(candidate)
            except UserError:
                continue
            logger.warning("%s; resuming from %s", error, candidate.name)
            return state, candidate
        raise


def verify(path: Path) -> None:
    """Compares the checksums of all records, and of all bytes between them, with the content.

    torch reads records without comparing their checksums.

    Raises:
        UserError: a checksum is wrong, or the file is no checkpoint.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_START)) == ZIP_START
        if not is_zip:
            if path.name.endswith(TEMPLATE_SUFFIXES):
                return
            raise UserError(f"{path}: not a checkpoint, or its start is damaged")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise UserError(f"{path}: not a checkpoint: torch never compresses records")
            _check_seal(path, archive, file)
            damaged = archive.testzip()
    except UserError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    if damaged is not None:
        raise UserError(f"{path}: damaged checkpoint: the checksum of {damaged} is wrong")


def _check_seal(path: Path, archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Raises UserError if the seal does not fit the file. A file of ``torch.save`` has no seal."""
    length = len(SEAL) + 8
    start = max(0, file.seek(0, os.SEEK_END) - length - 2)
    file.seek(start)
    end = file.read()
    if end[:-8] != length.to_bytes(2, "little") + SEAL:
        if end[-22:-18] != ZIP_END or end[-2:] != b"\0\0":
            raise UserError(f"{path}: damaged checkpoint: its end is missing")
    elif f"{_crc_between_records(file, archive.infolist(), start):08x}".encode() != end[-8:]:
        raise UserError(f"{path}: damaged checkpoint: its checksum is wrong")
