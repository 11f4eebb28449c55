"""Sharded tensors (``DTensor``) of FSDP, and plain tensors, which stay as they are.

Importing ``torch.distributed.tensor`` takes 0.7 s, so these functions do not need the class.
"""

from __future__ import annotations

from typing import Any


def is_dtensor(value: Any) -> bool:
    """Whether a value is a DTensor."""
    return hasattr(value, "full_tensor")


def full_tensor(value: Any) -> Any:
    """Gathers a DTensor on every rank, so all ranks must call this. Any other value stays."""
    return value.full_tensor() if is_dtensor(value) else value


def local_shard(value: Any) -> Any:
    """Returns this rank's shard of a DTensor; any other value unchanged."""
    return value.to_local() if is_dtensor(value) else value
