"""Copies of a state that is written in the background while training goes on."""

from __future__ import annotations

from typing import Any

import torch


def copy_to_cpu(value: Any, earlier: Any = None) -> Any:
    """A copy of a state in the CPU's memory, which no later step changes.

    Args:
        value: nested dicts, lists, tensors and plain values.
        earlier: a copy whose memory is used again where shapes are equal: getting new memory
            takes longer than copying into it.
    """
    if isinstance(value, torch.Tensor):
        if isinstance(earlier, torch.Tensor) and (earlier.shape, earlier.dtype) == (
            value.shape,
            value.dtype,
        ):
            return earlier.copy_(value.detach())
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        known = earlier if isinstance(earlier, dict) else {}
        return {key: copy_to_cpu(item, known.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(copy_to_cpu, value))
    return value
