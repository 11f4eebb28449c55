"""Digests of tensors: 64-bit numbers that show whether any bit has changed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from utils.dtensor import full_tensor, is_dtensor

VALUES_PER_ROW = 1 << 15  # of 8 bytes; a row fits into the cache of a CPU core
ROWS_AT_ONCE_ON_CPU = 1
ROWS_AT_ONCE_ON_ACCELERATOR = 1 << 9
# Odd constants of splitmix64, as signed integers: https://prng.di.unimi.it/splitmix64.c
FIRST_FACTOR, SECOND_FACTOR = 0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64)
STEP = 0x9E3779B97F4A7C15 - (1 << 64)


def digest_tensors(state: Mapping[str, Any]) -> dict[str, int]:
    """Returns a signed integer of 64 bits for each tensor that has plain data, by name.

    A value depends on the dtype, the shape and every bit, and not on the device or on the memory
    format. Each value is mixed with its position, because ``torch.hash_tensor`` does not notice
    values that change places. Sharded tensors are gathered, so all ranks must call this.

    Args:
        state: tensors by name. Lazy, sparse and quantized ones are left out, and all other values.
    """
    # All digests are computed before the first one is read, because reading waits for the device.
    digests = {name: _digest(value) for name, value in state.items() if _has_plain_data(value)}
    return {name: _add_type(int(digest), state[name]) for name, digest in digests.items()}


def digest_state(state: Mapping[str, Any]) -> int | None:
    """The digest of a full state dict; None if a value in it has no digest."""
    digests = digest_tensors(state)
    if digests.keys() != state.keys():
        return None
    text = ",".join(f"{name}:{digests[name]}" for name in sorted(digests))
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return digest_tensors({"": data})[""]


def _has_plain_data(value: Any) -> bool:
    if not isinstance(value, torch.Tensor) or is_lazy(value) or value.is_meta:
        return False
    is_special = value.layout is not torch.strided or value.is_quantized or value.is_nested
    is_plain = is_dtensor(value) or type(value) in (torch.Tensor, torch.nn.Parameter)
    return is_plain and not is_special


def _add_type(digest: int, value: torch.Tensor) -> int:
    """Mixes the dtype and the shape of a tensor into its digest."""
    return digest ^ zlib.crc32(f"{value.dtype}{tuple(value.shape)}".encode())


@torch.no_grad()
def _digest(value: torch.Tensor) -> torch.Tensor:
    """The digest of the bytes, a tensor of shape () on the device of ``value``."""
    plain = full_tensor(value.detach()).resolve_conj().resolve_neg()
    data = plain.contiguous().reshape(-1).view(torch.uint8)
    if missing := -data.numel() % 8:
        data = torch.nn.functional.pad(data, (0, missing))
    values = data.view(torch.int64)
    num_rows = values.numel() // VALUES_PER_ROW
    num_in_rows = num_rows * VALUES_PER_ROW
    rows, rest = values[:num_in_rows].view(num_rows, VALUES_PER_ROW), values[num_in_rows:]
    columns = torch.arange(VALUES_PER_ROW, device=data.device).mul_(STEP)
    total = _digest_rows(rest[None], num_rows, columns)
    num_at_once = ROWS_AT_ONCE_ON_CPU if data.is_cpu else ROWS_AT_ONCE_ON_ACCELERATOR
    for first in range(0, num_rows, num_at_once):
        total += _digest_rows(rows[first : first + num_at_once], first, columns)
    return total


def _digest_rows(rows: torch.Tensor, first: int, columns: torch.Tensor) -> torch.Tensor:
    """The sum of the digests of rows (N, L) of integers; ``first`` is the number of the first."""
    of_rows = _mix(rows ^ columns[: rows.shape[1]]).sum(dim=1)
    numbers = torch.arange(first, first + len(rows), device=rows.device).mul_(STEP)
    return _mix(of_rows ^ numbers).sum()


def _mix(values: torch.Tensor) -> torch.Tensor:
    """Spreads each bit of integers over all bits, in place."""
    values.mul_(FIRST_FACTOR)
    values.bitwise_xor_(values >> 32)
    values.mul_(SECOND_FACTOR)
    return values.bitwise_xor_(values >> 29)
