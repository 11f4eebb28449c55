"""Writes, verifies and reads shards, by torch's distributed checkpoint (DCP).

DCP's index is a pickle. This module unpickles only the types that such an index needs.
"""

from __future__ import annotations

import pickle
import secrets
import shutil
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save
from torch.distributed.tensor import DTensor

from base.checkpoint.nested import map_tensors
from base.checkpoint.sharded import SUFFIX
from utils.distributed import all_gather, broadcast, is_main
from utils.errors import UserError, one_line
from utils.files import fsync_folder

INDEX = ".metadata"  # DCP's name
CRC_BLOCK_BYTES = 1 << 20


def write_shards(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Writes this rank's shards durably. All ranks must call it.

    Args:
        state: the state of a run: nested dicts, in which the sharded tensors are DTensors.
        path: the checkpoint that will refer to the shards. Their folder always gets a new name, so
            that an older folder stays intact.

    Returns:
        The state for the file. Its sharded tensors have a shape and a dtype, but no data. Its
        ``shards`` names the folder and the CRC-32 of the files in it.

    Raises:
        UserError: on all ranks, if one of them could not write. The folder is deleted then.
    """
    shards: dict[str, Any] = {}

    def collect(name: str, value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        shards[name] = value.detach()
        return torch.empty(value.shape, dtype=value.dtype, device="meta")

    rest: dict[str, Any] = map_tensors(state, collect)
    if not shards:
        return state
    folder = path.with_name(broadcast(f"{path.stem}.{secrets.token_hex(4)}{SUFFIX}"))
    writer = _Writer(folder)
    try:
        dcp_save(shards, storage_writer=writer)
    except CheckpointException as error:
        if is_main():
            shutil.rmtree(folder, ignore_errors=True)
        failed_rank, (cause, _) = min(error.failures.items(), key=lambda failure: failure[0])
        if not isinstance(cause, OSError):
            raise RuntimeError(f"on rank {failed_rank}: {one_line(cause)}") from error
        reason = f"{cause.strerror}, on rank {failed_rank}"
        raise UserError(f"{path}: the checkpoint could not be written: {reason}") from error
    if is_main():
        fsync_folder(folder)
        fsync_folder(folder.parent)
    checksums = {name: crc for sums in all_gather(writer.checksums) for name, crc in sums.items()}
    return rest | {"shards": {"folder": folder.name, "crc32": checksums}}


def verify_shards(state: dict[str, Any], path: Path) -> None:
    """Compares the CRC-32 of each file with the one in the checkpoint. Raises UserError."""
    folder, checksums = _parse_reference(state, path)
    for name, crc in checksums.items():
        try:
            is_good = _crc_of(folder / name) == crc
        except OSError as error:
            shard = f"{folder.name}/{name}"
            raise UserError(f"{path}: its shard {shard} cannot be read: {error.strerror}") from None
        if not is_good:
            message = f"{path}: damaged checkpoint: the checksum of {folder.name}/{name} is wrong"
            raise UserError(message)


def read_shards(state: dict[str, Any], path: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """Fills the tensors of a state with the data of the shards.

    Args:
        state: the return value of ``write_shards``.
        path: the file of the checkpoint.
        like: DTensors by dotted name. Of the tensors with these names, this rank reads only its
            shards. A name may also be that of a dict of tensors, for example
            ``optimizer.state.0``.

    Raises:
        UserError: the shards cannot be read.
    """
    folder, checksums = _parse_reference(state, path)
    wanted: dict[str, Any] = {}

    def allocate(name: str, value: Any) -> Any:
        if not value.is_meta:
            return value
        target = like.get(name, like.get(name.rpartition(".")[0]))
        if isinstance(target, DTensor) and target.shape == value.shape:
            wanted[name] = torch.empty_like(target.detach(), dtype=value.dtype)
        else:
            wanted[name] = torch.empty(value.shape, dtype=value.dtype)
        return wanted[name]

    filled: dict[str, Any] = map_tensors(
        {key: item for key, item in state.items() if key != "shards"}, allocate
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns that it reads on one rank only
            dcp_load(wanted, storage_reader=_Reader(folder, set(checksums)), no_dist=True)
    except (CheckpointException, Exception) as error:  # a damaged index raises anything
        cause: BaseException = error
        if isinstance(error, CheckpointException):
            cause = next(iter(error.failures.values()))[0]
        raise UserError(f"{path}: its shards cannot be read: {one_line(cause)}") from None
    return filled


def _parse_reference(state: dict[str, Any], path: Path) -> tuple[Path, dict[str, int]]:
    """Returns the folder of the shards and their checksums by file name.

    Raises:
        UserError: the reference is damaged, or a name contains a path.
    """
    reference = state["shards"]
    folder, checksums = None, None
    if isinstance(reference, dict):
        folder, checksums = reference.get("folder"), reference.get("crc32")
    names = [folder, *checksums] if isinstance(checksums, dict) else [None]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UserError(f"{path}: damaged checkpoint: its reference to shards cannot be read")
    return path.with_name(str(folder)), dict(checksums or {})


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(CRC_BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


class _Writer(FileSystemWriter):
    """Computes checksums inside of DCP's calls, because DCP reports their errors to all ranks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.checksums: dict[str, int] = {}

    def write_data(self, plan: Any, planner: Any) -> Any:
        try:
            written = super().write_data(plan, planner)
        except RuntimeError as error:  # torch hides the OSError of a failed write in the context
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        files = self.folder.glob(f"{plan.storage_data.prefix}*")
        self.checksums |= {path.name: _crc_of(path) for path in files}
        return written

    def finish(self, metadata: Any, results: Any) -> None:
        super().finish(metadata, results)
        self.checksums[INDEX] = _crc_of(self.folder / INDEX)


class _Reader(FileSystemReader):
    """Reads only tensors, and only from the files that the checkpoint names.

    DCP's reader would unpickle any object that its index names.
    """

    def __init__(self, folder: Path, names: set[str]) -> None:
        super().__init__(folder)
        with (folder / INDEX).open("rb") as file:
            self.index = _IndexUnpickler(file).load()
        for value in self.index.state_dict_metadata.values():
            if not isinstance(value, metadata.TensorStorageMetadata):
                raise ValueError("the index refers to more than tensors")
        if not {info.relative_path for info in self.index.storage_data.values()} <= names:
            raise ValueError("the index refers to other files")

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        return self.index


class _IndexUnpickler(pickle.Unpickler):
    """Makes only the records of DCP's index, and the torch types in them."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("pathlib", "pathlib._local"):
            return PurePosixPath
        modules = (metadata, filesystem, torch, torch.serialization)
        found = getattr({m.__name__: m for m in modules}.get(module), name, None)
        if isinstance(found, torch.dtype) or found in (torch.Size, torch.serialization._get_layout):
            return found
        record_modules = (metadata.__name__, filesystem.__name__)
        if isinstance(found, type) and found.__module__ in record_modules:
            return found
        raise pickle.UnpicklingError(f"it holds more than tensors: {module}.{name}")
