"""Reads checkpoints of pytorch-template, which hold more than tensors, as plain data.

After importing this module, ``torch.load(path, weights_only=True)`` reads them everywhere in the
process, because the code of a project may call ``torch.load(config.resume)`` itself. No code in a
file is executed.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch


class OldConfig:
    """Replaces a ``ConfigParser`` inside a checkpoint, and holds only its data."""

    def __getitem__(self, name: str) -> Any:
        data = vars(self)
        return data["_config"][name] if "_config" in data else data["config"][name]


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


# Replacements for the classes and functions that a checkpoint names.
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
