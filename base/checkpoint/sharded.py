"""Sharded checkpoints: each process writes its shards into a folder beside a small file.

``base/checkpoint/dcp.py`` writes them by torch's distributed checkpoint (DCP). It is imported only
where it is needed, because DCP is slow to import.
``python -m base.checkpoint.sharded RUN one.pt`` converts such a checkpoint into one plain file.
"""

from __future__ import annotations

import argparse
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.checkpoint.file import TensorStore, load, save
from utils.checkpoints import find_checkpoint
from utils.files import fsync_folder
from utils.main import run_main

SUFFIX = ".shards"  # the folder's name is CHECKPOINT.XXXXXXXX.shards, with 8 random hex digits


class ShardedStore(TensorStore):
    """Lets each rank write its shards of the tensors that FSDP2 has sharded."""

    option = "sharded_checkpoint"
    marker = "shards"

    def write(self, state: dict[str, Any], path: Path) -> dict[str, Any]:
        from base.checkpoint import dcp

        return dcp.write_shards(state, path)

    def verify(self, state: dict[str, Any], path: Path) -> None:
        from base.checkpoint import dcp

        dcp.verify_shards(state, path)

    def read(
        self, state: dict[str, Any], path: Path, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        from base.checkpoint import dcp

        return dcp.read_shards(state, path, {} if like is None else like)

    def remove_unused(self, folder: Path) -> None:
        folders = list(folder.glob(f"*{SUFFIX}"))
        if not folders:
            return
        fsync_folder(folder)  # after a power cut, no deleted checkpoint may refer to them
        try:
            used = {find_shards(path) for path in folder.glob("*.pt")}
        except (OSError, zipfile.BadZipFile):  # a damaged file may refer to any of them
            return
        for path in folders:
            if path not in used:
                shutil.rmtree(path, ignore_errors=True)

    def list_files(self, path: Path) -> list[Path]:
        return list(path.parent.glob(f"{path.stem}.*{SUFFIX}/*"))


def find_shards(path: Path) -> Path | None:
    """Finds the name of the folder in the bytes of a checkpoint, without loading it.

    Raises:
        OSError, zipfile.BadZipFile: the file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        pickles = b"".join(archive.read(name) for name in names)
    match = re.search(rb"[\w.-]+\.[0-9a-f]{8}" + re.escape(SUFFIX.encode()), pickles)
    return path.with_name(match[0].decode()) if match else None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m base.checkpoint.sharded",
        description="Converts a sharded checkpoint into one plain file.",
    )
    parser.add_argument("checkpoint", help="checkpoint, or run folder (its best checkpoint)")
    parser.add_argument("output", type=Path, help="the .pt file to write")
    args = parser.parse_args()
    path = find_checkpoint(args.checkpoint, best_first=True)
    save(load(path), args.output)
    print(f"{path} is written as one file: {args.output}")


if __name__ == "__main__":
    run_main(main)
