"""Describes values of any form in few words, for errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from utils.errors import shorten

ITEMS_SHOWN = 4  # of a list or mapping


def describe_values(value: Any) -> str:
    """The shapes and dtypes in a value, such as ``(8, 10) float32``."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        items = [
            f"{key}: {describe_values(item)}" for key, item in list(value.items())[:ITEMS_SHOWN]
        ]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        items = [describe_values(item) for item in value[:ITEMS_SHOWN]]
        return f"{type(value).__name__} of {len(value)} ({', '.join(items)})"
    if isinstance(value, bool | int | float | str):
        return shorten(repr(value), 40)
    return type(value).__name__
