"""Reads checkpoints of pytorch-template, which hold more than tensors, as plain data.

After importing this module, ``torch.load(path, weights_only=True)`` reads them everywhere in the
process, because the code of a project may call ``torch.load(config.resume)`` itself. No code in a
file is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from base.checkpoint.foreign import READERS


def find_config(attributes: Mapping[str, Any]) -> Any:
    """Returns the config that a ``ConfigParser`` of any version holds.

    The attribute was ``config`` in April 2019, then ``__config``, and ``_config`` since May 2019.
    A private name is saved as ``_ConfigParser__config``.

    Raises:
        KeyError: there is no such attribute.
    """
    for name, value in attributes.items():
        if name in ("config", "_config") or name.endswith("__config"):
            return value
    raise KeyError("config")


class OldConfig:
    """Replaces a ``ConfigParser`` inside a checkpoint, and holds only its data."""

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    @property
    def config(self) -> Any:
        """The values."""
        return find_config(vars(self))


class OldLogger:
    """Replaces the ``Logger`` inside the checkpoints of 2018: a list of the logs of all epochs.

    Attributes:
        entries: the log of each epoch; the first one has the number 1.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Any] = {}

    def add_entry(self, entry: Any) -> None:
        """Adds the log of an epoch: the trainers of 2018 continue this list after a resume."""
        self.entries[len(self.entries) + 1] = entry

    def __str__(self) -> str:
        return str(self.entries)


class OldPath(str):
    """Replaces a path inside a checkpoint by text."""

    def __new__(cls, *segments: str) -> OldPath:
        return super().__new__(cls, PurePosixPath(*segments))


class OldDtype:
    """Replaces ``numpy.dtype``, which a checkpoint holds if its best value is a NumPy number."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        byte_order = state[1] if state[1] in ("<", ">") else ""
        self.name = byte_order + self.name


def make_number(dtype: OldDtype, data: bytes) -> Any:
    """Replaces the function that makes NumPy numbers, and returns a Python number."""
    if dtype.name.lstrip("<>")[:1] not in ("b", "i", "u", "f"):
        raise ValueError(f"{dtype.name} is not the type of a number")
    return np.frombuffer(data, dtype.name)[0].item()


def read_objects(path: Path, map_location: Any) -> Any:
    """Reads a checkpoint with objects of a project as plain data."""
    from base.checkpoint.old_objects import load_objects

    return load_objects(path, is_strict=True, map_location=map_location)


# Replacements for the classes and functions that a checkpoint names.
REPLACEMENTS: dict[str, Any] = {
    "parse_config.ConfigParser": OldConfig,
    "config.parser.ConfigParser": OldConfig,
    "logger.logger.Logger": OldLogger,
    "numpy.dtype": OldDtype,
    "numpy.core.multiarray.scalar": make_number,
    "numpy._core.multiarray.scalar": make_number,  # since NumPy 2
    "pathlib.PosixPath": OldPath,
    "pathlib.WindowsPath": OldPath,
    "pathlib._local.PosixPath": OldPath,  # since Python 3.13
    "pathlib._local.WindowsPath": OldPath,
}
# A project that resumes may save these objects in its next checkpoint.
REPLACEMENTS |= {f"{__name__}.{kind.__name__}": kind for kind in (OldConfig, OldLogger, OldPath)}
torch.serialization.add_safe_globals([(value, name) for name, value in REPLACEMENTS.items()])
READERS.append(read_objects)
