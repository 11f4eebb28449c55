"""Checkpoints of pytorch-template: what they hold besides tensors, read as plain data.

Importing this module lets ``torch.load(path, weights_only=True)`` read them, in the whole process:
a project's own code calls ``torch.load(config.resume)`` too. Nothing in a file is executed.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch


class OldConfig:
    """Replaces a ``ConfigParser`` inside a checkpoint; holds its data only."""

    def __getitem__(self, name: str) -> Any:
        data = vars(self)
        return data["_config"][name] if "_config" in data else data["config"][name]


class OldPath(str):
    """Replaces a path inside a checkpoint: text, of which nothing is opened."""

    def __new__(cls, *segments: str) -> OldPath:
        return super().__new__(cls, PurePosixPath(*segments))


class OldDtype:
    """Replaces ``numpy.dtype``: a best value that NumPy computed is saved as a NumPy number."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        byte_order = state[1] if state[1] in ("<", ">") else ""
        self.name = byte_order + self.name


def make_number(dtype: OldDtype, data: bytes) -> Any:
    """Replaces the function that makes NumPy's numbers; gives Python's."""
    if dtype.name.lstrip("<>")[:1] not in ("b", "i", "u", "f"):
        raise ValueError(f"no number of type {dtype.name}")
    return np.frombuffer(data, dtype.name)[0].item()


# What stands in for the classes and functions that a checkpoint names.
REPLACEMENTS: dict[str, Any] = {
    "parse_config.ConfigParser": OldConfig,
    "config.parser.ConfigParser": OldConfig,
    "numpy.dtype": OldDtype,
    "numpy.core.multiarray.scalar": make_number,
    "numpy._core.multiarray.scalar": make_number,  # since NumPy 2
    "pathlib.PosixPath": OldPath,
    "pathlib.WindowsPath": OldPath,
    "pathlib._local.PosixPath": OldPath,  # since Python 3.13
    "pathlib._local.WindowsPath": OldPath,
}
torch.serialization.add_safe_globals([(value, name) for name, value in REPLACEMENTS.items()])
