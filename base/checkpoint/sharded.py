"""Checkpoints of which each process writes its part: a folder of shards, beside the file that holds all else.

By torch's distributed checkpoint (DCP). Its index is a pickle, of which nothing is made here but DCP's own records.
Imported where it is needed, as DCP takes its time.
"""

from __future__ import annotations

import argparse
import pickle
import secrets
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_dcp
from torch.distributed.checkpoint.state_dict_saver import save as save_dcp

from base.parallel.sharding import is_cut, replaced
from utils.checkpoints import SHARDS, find_checkpoint
from utils.distributed import all_gather, broadcast, is_main
from utils.errors import UserError, one_line
from utils.files import fsync_folder
from utils.main import run_main

_INDEX = ".metadata"


def write_shards(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Writes this process's part of the tensors that are cut, to the disk. All call alike.

    Args:
        state: of a trainer.
        path: of the checkpoint that will refer to the shards; the folder beside it has a name of its own each time.

    Returns:
        The state for the checkpoint: such tensors have a shape and a dtype, and no data; ``shards`` names the folder
        and the CRC-32 of its files.

    Raises:
        UserError: on all ranks, if one of them could not write; nothing is left.
    """
    parts: dict[str, Any] = {}

    def named(where: str, value: Any) -> torch.Tensor:
        parts[where] = value.detach()
        return torch.empty(value.shape, dtype=value.dtype, device="meta")

    rest: dict[str, Any] = replaced(state, named)
    if not parts:
        return state
    folder = path.with_name(broadcast(f"{path.stem}.{secrets.token_hex(4)}{SHARDS}"))
    writer = _Writer(folder)
    try:
        save_dcp(parts, storage_writer=writer)
    except CheckpointException as error:
        if is_main():
            shutil.rmtree(folder, ignore_errors=True)
        rank, (cause, _) = min(error.failures.items(), key=lambda failure: failure[0])
        if not isinstance(cause, OSError):
            raise RuntimeError(f"on rank {rank}: {one_line(cause)}") from error
        message = f"the checkpoint could not be written: {cause.strerror}, on rank {rank}"
        raise UserError(f"{path}: {message}") from error
    if is_main():
        fsync_folder(folder)
        fsync_folder(folder.parent)
    sums = {name: crc for own in all_gather(writer.sums) for name, crc in own.items()}
    return rest | {"shards": {"folder": folder.name, "crc32": sums}}


class _Writer(FileSystemWriter):
    """Notes the sums of the files that this process writes; in time for DCP to tell all ranks of an error."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder, self.sums = folder, dict[str, int]()

    def write_data(self, plan: Any, planner: Any) -> Any:
        try:
            written = super().write_data(plan, planner)
        except RuntimeError as error:  # torch's about positions, for a failed write
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        self.sums |= {
            path.name: _crc(path) for path in self.folder.glob(f"{plan.storage_data.prefix}*")
        }
        return written

    def finish(self, metadata: Any, results: Any) -> None:
        super().finish(metadata, results)
        self.sums[_INDEX] = _crc(self.folder / _INDEX)


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def verify_shards(state: dict[str, Any], path: Path) -> None:
    """Compares the CRC-32 of each file with what the checkpoint says. Raises UserError."""
    folder, sums = _described(state, path)
    for name, crc in sums.items():
        try:
            good = _crc(folder / name) == crc
        except OSError as error:
            raise UserError(
                f"{path}: its shard {folder.name}/{name} cannot be read: {error.strerror}"
            ) from None
        if not good:
            raise UserError(
                f"{path}: damaged checkpoint: the checksum of {folder.name}/{name} is wrong"
            )


def _described(state: dict[str, Any], path: Path) -> tuple[Path, dict[str, int]]:
    shards = state["shards"]
    name, sums = (
        (shards.get("folder"), shards.get("crc32")) if isinstance(shards, dict) else (None, None)
    )
    names = (name, *sums) if isinstance(sums, dict) else (None,)
    if not all(isinstance(file, str) and Path(file).name == file for file in names):
        raise UserError(f"{path}: damaged checkpoint: what it says of its shards is nothing")
    return path.with_name(str(name)), dict(sums or {})


def filled(
    state: dict[str, Any], path: Path, like: Callable[[str], Any] = lambda where: None
) -> dict[str, Any]:
    """A checkpoint's state with the data of its shards; each process reads what it asks for.

    Args:
        state: as ``write_shards`` gave it; any other is given back.
        path: of the checkpoint.
        like: gives for a place, as ``optimizer.state.0.exp_avg``, the tensor as which its value is to be cut; None for
            all of it.

    Raises:
        UserError: the shards are not what the checkpoint says.
    """
    if "shards" not in state:
        return state
    folder, sums = _described(state, path)
    wanted: dict[str, Any] = {}

    def target(where: str, value: Any) -> Any:
        own = like(where)
        if is_cut(own) and own.shape == value.shape:
            wanted[where] = torch.empty_like(own.detach(), dtype=value.dtype)
        else:
            wanted[where] = torch.empty(value.shape, dtype=value.dtype)
        return wanted[where]

    made = replaced({name: value for name, value in state.items() if name != "shards"}, target)
    try:
        with warnings.catch_warnings(action="ignore"):  # that it reads by itself
            load_dcp(wanted, storage_reader=_Reader(folder, set(sums)), no_dist=True)
    except (CheckpointException, Exception) as error:  # an index may hold anything
        cause = (
            next(iter(error.failures.values()))[0]
            if isinstance(error, CheckpointException)
            else error
        )
        raise UserError(f"{path}: its shards cannot be read: {one_line(cause)}") from None
    return made  # type: ignore[no-any-return]


class _Reader(FileSystemReader):
    """Makes of the index nothing but records of tensors, whose data is in the files that the checkpoint names."""

    def __init__(self, folder: Path, names: set[str]) -> None:
        super().__init__(folder)
        with (folder / _INDEX).open("rb") as file:
            self.index = _Unpickler(file).load()
        for value in self.index.state_dict_metadata.values():
            if not isinstance(
                value, metadata.TensorStorageMetadata
            ):  # DCP would unpickle it, whatever it is
                raise ValueError("it holds more than tensors")
        if not {info.relative_path for info in self.index.storage_data.values()} <= names:
            raise ValueError("it names other files than its own")

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        return self.index


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("pathlib", "pathlib._local"):
            return PurePosixPath
        homes = {home.__name__: home for home in (metadata, filesystem, torch, torch.serialization)}
        found = getattr(homes.get(module), name, None)
        record = isinstance(found, type) and found.__module__ in (
            metadata.__name__,
            filesystem.__name__,
        )
        if (
            record
            or isinstance(found, torch.dtype)
            or found in (torch.Size, torch.serialization._get_layout)
        ):
            return found
        raise pickle.UnpicklingError(f"it holds more than tensors: {module}.{name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m base.checkpoint.sharded", description="Makes one file of a checkpoint."
    )
    parser.add_argument("checkpoint", help="checkpoint, or run folder (its best one)")
    parser.add_argument("output", type=Path, help="the .pt file")
    args = parser.parse_args()
    from base.checkpoint.file import load, save

    save(load(path := find_checkpoint(args.checkpoint, best_first=True)), args.output)
    print(f"{path}, as one file: {args.output}")


if __name__ == "__main__":
    run_main(main)
