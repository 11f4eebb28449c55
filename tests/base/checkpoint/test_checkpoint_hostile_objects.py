"""Hostile pickles that the reader of old objects refuses."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
from typing import Any

import numpy as np
import pytest

from base.checkpoint.old_objects import DataUnpickler


def unpickle(content: bytes) -> Any:
    return DataUnpickler(io.BytesIO(b"\x80\x02" + content + b".")).load()


def make_call(name: str, arguments: bytes) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n" + arguments + b"R"


SLOTS = b"}}X\x03\x00\x00\x00popK\x01s\x86b"  # sets the attribute `pop` of what is below


@pytest.mark.parametrize(
    "content",
    [
        b"ccollections\nCounter\n" + SLOTS,
        b"ctorch._utils\n_rebuild_tensor_v2\n" + SLOTS,
        b"cwords\nWords\n" + SLOTS,
        b"cargparse\nNamespace\n" + SLOTS,
        b"]r\xff\xff\xff\x7f",  # stored at index 2^31 of the memory
        make_call("__builtin__ bytearray", b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"),
        make_call("_codecs encode", b"X\x01\x00\x00\x00xX\x03\x00\x00\x00zip\x86"),
        make_call("__builtin__ getattr", b"K\x01K\x02\x86"),
        make_call("__builtin__ range", b"K\x01\x85"),
        b"(cos\nsystem\no",
        b"(S'x'\nios\nsystem\n",
        b"\x82\x01",
        b"X\xff\xff\xff\x7fabc",
        b"K\x01" * 3 + b"R",
        b"]" + b"2" * 3 + b"\x81",
    ],
)
def test_hostile_opcodes_are_refused_and_change_nothing(content: bytes) -> None:
    before = [dict(vars(kind)) for kind in (collections.Counter, argparse.Namespace)]
    with pytest.raises((pickle.UnpicklingError, TypeError, AttributeError)):
        unpickle(content)
    assert [dict(vars(kind)) for kind in (collections.Counter, argparse.Namespace)] == before


def test_a_type_of_values_with_objects_inside_is_refused() -> None:
    """A structured type could take bytes for addresses of objects."""
    fields = np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")])
    with pytest.raises((pickle.UnpicklingError, TypeError, ValueError)):
        DataUnpickler(io.BytesIO(pickle.dumps(fields, protocol=2))).load()


def test_deep_and_recursive_values_are_read() -> None:
    depth = 100_000
    value = unpickle(b"]" * depth + b"a" * (depth - 1))
    for _ in range(depth - 1):
        (value,) = value
    itself = unpickle(b"]q\x00h\x00a")
    assert itself[0] is itself
