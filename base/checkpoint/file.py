"""Checkpoints: written so that a crash leaves the old or the new one, read so that none can run code."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import torch

from base.parallel.sharding import class_of, cut_like
from utils.checkpoints import checkpoint_number, list_checkpoints
from utils.errors import UserError, one_line
from utils.files import atomic_write, fsync_folder, temporary_path

# Files in torch's zip format begin so; older ones are a bare pickle, without checksums.
_ZIP = b"PK\x03\x04"
_END = b"PK\x05\x06"  # 22 bytes from the end of one without a comment
_SEAL = b"crc32 of all but the records: "


class OldConfig:
    """Stands for a ``ConfigParser`` inside a checkpoint of pytorch-template, or of a project's own; holds data only."""

    def __getitem__(self, name: str) -> Any:
        return (
            vars(self)["_config"][name] if "_config" in vars(self) else vars(self)["config"][name]
        )


class OldPath(str):
    """Stands for the paths inside pytorch-template's checkpoints: text, of which nothing is opened."""

    def __new__(cls, *parts: str) -> OldPath:
        return super().__new__(cls, PurePosixPath(*parts))


class OldDtype:
    """Stands for ``numpy.dtype``: a best value computed by NumPy is saved as one of its numbers."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.name = {"<": "<", ">": ">"}.get(state[1], "") + self.name


def old_number(dtype: OldDtype, data: bytes) -> Any:
    """Stands for the function that makes NumPy's numbers; gives Python's."""
    if dtype.name.lstrip("<>")[:1] not in ("b", "i", "u", "f"):
        raise ValueError(f"no number of type {dtype.name}")
    return np.frombuffer(data, dtype.name)[0].item()


# For every `torch.load` of the process: a project's own code calls `torch.load(config.resume)` too.
torch.serialization.add_safe_globals(
    [(OldConfig, "parse_config.ConfigParser"), (OldDtype, "numpy.dtype")]
)
torch.serialization.add_safe_globals([(OldConfig, "config.parser.ConfigParser")])
for _module in ("numpy.core", "numpy._core"):
    torch.serialization.add_safe_globals([(old_number, f"{_module}.multiarray.scalar")])
for _module in ("pathlib", "pathlib._local"):  # the second one since Python 3.13
    torch.serialization.add_safe_globals(
        [(OldPath, f"{_module}.PosixPath"), (OldPath, f"{_module}.WindowsPath")]
    )


def save(state: dict[str, Any], path: Path) -> None:
    """Writes ``state`` (tensors and plain values) to ``path``, atomically and durably.

    Raises:
        UserError: the disk is full, the folder is gone or may not be written. An older ``path`` is intact.
    """
    try:
        with atomic_write(path) as file:
            _sealed(state, file)
    except (OSError, RuntimeError) as error:
        # torch turns a failed write into a RuntimeError about positions; the cause is in its context.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise UserError(f"{path}: the checkpoint could not be written: {cause.strerror}") from error


def _sealed(state: dict[str, Any], file: IO[bytes]) -> None:
    """Writes the state, and in the zip file's comment the CRC-32 of what torch's own sums leave out."""
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        crc = _crc_between(file, archive.infolist(), file.seek(-2, os.SEEK_END))
    seal = _SEAL + f"{crc:08x}".encode()
    file.seek(-2, os.SEEK_END)  # the length of a comment, 0
    file.write(len(seal).to_bytes(2, "little") + seal)


def _crc_between(file: IO[bytes], records: list[zipfile.ZipInfo], end: int) -> int:
    """The CRC-32 of all up to ``end`` that is no record's content."""
    crc = place = 0
    for record in sorted(records, key=lambda record: record.header_offset):
        file.seek(record.header_offset + 26)  # the lengths of the name and of the padding after it
        lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        start = record.header_offset + 30 + lengths
        file.seek(place)
        crc, place = zlib.crc32(file.read(max(0, start - place)), crc), start + record.compress_size
    file.seek(place)
    return zlib.crc32(file.read(max(0, end - place)), crc)


def _check_seal(path: Path, archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Compares the seal, where there is one, with what it stands for. Raises UserError."""
    length = len(_SEAL) + 8
    left = max(0, file.seek(0, os.SEEK_END) - length - 2)
    file.seek(left)
    end = file.read()
    if end[:-8] != length.to_bytes(2, "little") + _SEAL:
        if end[-22:-18] != _END or end[-2:] != b"\0\0":
            raise UserError(f"{path}: damaged checkpoint: cut off at its end")
        return  # by torch.save alone, without a comment
    if f"{_crc_between(file, archive.infolist(), left):08x}".encode() != end[-8:]:
        raise UserError(f"{path}: damaged checkpoint: its checksum is wrong")


def duplicate(path: Path, other: Path) -> None:
    """Makes ``other`` the same checkpoint as ``path``, at no cost where the disk has hard links."""
    if other.exists() and other.samefile(path):
        return  # as a rename of one link over another of the same file does nothing, and leaves both
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


def verify(path: Path) -> None:
    """Compares the CRC-32 of every record, and of what lies between them, with its content; torch reads them unchecked.

    Raises:
        UserError: one is wrong, or the file is no checkpoint.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                if path.suffix == ".pth":
                    return
                raise UserError(f"{path}: not a checkpoint, or cut off at the start")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise UserError(f"{path}: not a checkpoint: torch compresses nothing")
            _check_seal(path, archive, file)
            damaged = archive.testzip()
    except (
        OSError,
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    if damaged is not None:
        raise UserError(f"{path}: damaged checkpoint: the checksum of {damaged} is wrong")


def load(path: Path, map_location: Any = "cpu", fill: bool = True) -> dict[str, Any]:
    """Reads a checkpoint of ours or of pytorch-template: checked first, then without running any code in it.

    Args:
        fill: read the tensors that are in shards, too; otherwise ``filled`` is left to do.

    Raises:
        UserError: missing, damaged, or holding more than tensors and plain values.
    """
    verify(path)
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        names = sorted(set(re.findall(r"GLOBAL ([\w.]+)", str(error))))
        found = f": {', '.join(names)}" if names else ""
        raise UserError(
            f"{path}: not loaded, as it holds more than tensors and plain values{found}"
        ) from None
    except Exception as error:  # a legacy file that is cut off raises almost anything
        raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    if "shards" in state:
        from base.checkpoint.sharded import filled, verify_shards

        verify_shards(state, path)
        return filled(state, path) if fill else state
    return state


def load_newest(path: Path, logger: logging.Logger) -> tuple[dict[str, Any], Path]:
    """Loads ``path``; if it is damaged, the newest good one before it, and says so; what is in shards is unread."""
    try:
        return load(path, fill=False), path
    except UserError as error:
        older = list_checkpoints(path.parent)
        older = older[older.index(path) + 1 :] if path in older else []
        for candidate in older:
            try:
                state = load(candidate, fill=False)
            except UserError:
                continue
            logger.warning("%s; going on from %s", error, candidate.name)
            return state, candidate
        raise


def sweep(folder: Path) -> None:
    """Deletes what a killed save left behind."""
    for litter in folder.glob(".*.tmp"):
        litter.unlink(missing_ok=True)


def prune(folder: Path, keep_last: int | None, newest: tuple[float, float]) -> None:
    """Deletes all but the ``keep_last`` newest checkpoints (None keeps all), and what a killed save left behind.

    Those past ``newest``, the one just written, go too: the run went back to before them, and is another one now.
    The best is another file, and stays.
    """
    sweep(folder)
    numbered = [(checkpoint_number(path), path) for path in list_checkpoints(folder)]
    past = [path for number, path in numbered if number > newest]
    for path in past + [path for number, path in numbered if number <= newest][keep_last:] * (
        keep_last is not None
    ):
        path.unlink(missing_ok=True)


def load_weights(model: torch.nn.Module, state_dict: dict[str, Any], source: object) -> None:
    """Loads ``state_dict`` strictly, with or without the ``module.`` that DataParallel puts before the names.

    Raises:
        UserError: it belongs to another architecture; names what is missing, unused or of another shape.
    """
    own = model.state_dict()
    if not isinstance(state_dict, dict) or not all(isinstance(name, str) for name in state_dict):
        raise UserError(f"{source}: its state_dict is a {type(state_dict).__name__}")
    if (
        state_dict
        and all(name.startswith("module.") for name in state_dict)
        and not set(state_dict) & set(own)
    ):
        state_dict = {name.removeprefix("module."): value for name, value in state_dict.items()}
    missing, unused = sorted(set(own) - set(state_dict)), sorted(set(state_dict) - set(own))
    shapes = [
        f"{name} is {tuple(state_dict[name].shape)} there, {tuple(own[name].shape)} here"
        for name in own
        if isinstance(own[name], torch.Tensor)
        and getattr(state_dict.get(name), "shape", None) not in (None, own[name].shape)
    ]
    problems = [
        f"{what} {len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("lacks", missing),
            ("has unknown", unused),
            ("has other shapes in", shapes),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"{source}: holds another architecture than {class_of(model).__name__}: {'; '.join(problems)}"
        )
    try:
        model.load_state_dict(
            {name: cut_like(value, own.get(name)) for name, value in state_dict.items()}
        )
    except RuntimeError as error:  # what should be a tensor is none
        raise UserError(f"{source}: {one_line(error)}") from None


def _ema(state: dict[str, Any]) -> Any:
    parts = state.get("parts")
    update = parts.get("update") if isinstance(parts, dict) else None
    return update.get("ema") if isinstance(update, dict) else None


def has_ema(state: dict[str, Any]) -> bool:
    """Whether a checkpoint holds averaged weights."""
    return isinstance(_ema(state), dict)


def weights_of(state: dict[str, Any], use_ema: bool) -> tuple[dict[str, Any], str]:
    """A checkpoint's averaged weights if it has some and they are wanted, else the plain ones; and which they are."""
    if not has_ema(state) or not use_ema:
        return state.get("state_dict", state), "weights"
    named = {
        name.removeprefix("module."): value
        for name, value in _ema(state).items()
        if name != "n_averaged"
    }
    return named, "EMA weights"
