"""Checkpoints in formats other than torch's, and archives whose headers lie."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import torch

from tests.fuzz.hostile_pickles import push
from tests.fuzz.hostile_runs import NAME, Case, write
from tests.fuzz.hostile_sandbox import PAYLOAD

STORED, DEFLATED, UNKNOWN = 0, 8, 99  # compression methods of a zip


class Shell:
    """Runs a shell command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (PAYLOAD,)


def make_tar(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_torch_script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def make_older_format() -> bytes:
    buffer = io.BytesIO()
    state = {"state_dict": {"weight": torch.ones(2)}, "config": Shell()}
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def make_contents() -> dict[str, bytes]:
    """Returns the content of a file for each format."""
    code = pickle.dumps(Shell(), 2)
    outside = {"../../outside/victim": b"owned", "/tmp/executed": b"owned"}
    inner = make_zip({"archive/data.pkl": code})
    document = {"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>"}
    oldest = {"sys_info": push({}), "tensors": code, "storages": code, "pickle": code}
    return {
        "empty": b"",
        "text": b"import os\n",
        "a bare pickle": code,
        "a script": b"#!/bin/sh\ntouch executed\n",
        "torch's older format": make_older_format(),
        "torch's oldest format": make_tar(oldest),
        "a tar that leads out": make_tar({**outside, "pickle": code}),
        "TorchScript": make_torch_script(),
        "a zip of text": make_zip({"readme.txt": b"hello"}),
        "a document": make_zip(document),
        "a zip that leads out": make_zip({**outside, "data.pkl": code}),
        "a zip in a zip": make_zip({"archive/data.pkl": inner, "archive/version": b"3"}),
        "a zip of nothing": make_zip({}),
        "the head of a zip": b"PK\x03\x04",
    }


def formats() -> Iterator[Case]:
    for what, content in make_contents().items():
        for name in (NAME, "checkpoint-epoch1.pth"):
            yield Case(f"format: {what} as {name[-4:]}", write(name, content), f"run/{name}")


def archives() -> Iterator[Case]:
    zeros = bytes(1 << 24)
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(zeros) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 240 + compressor.flush()
    data = b"archive/data.pkl"
    for what, records in {
        "a bomb": [(b"archive/data/%d", bomb, DEFLATED, 240 << 24)] * 6,
        "one record many times": [(data, b"x", STORED, 1)] * 20_000,
        "a record's name in colours": [(b"archive/\x1b[2J\nb", b"x", STORED, 1)],
        "longer than it is": [(data, b"x", STORED, 1 << 31)],
        "packed in an unknown way": [(data, b"x", UNKNOWN, 1)],
    }.items():
        yield Case(f"archive: {what}", write(NAME, make_false_zip(records)))


def make_false_zip(records: list[tuple[bytes, bytes, int, int]]) -> bytes:
    """Returns a zip with wrong checksums and any sizes.

    Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3.

    Args:
        records: of each, the name (``%d`` is its number), the content, the compression method,
            and the size that the header claims.
    """
    body, directory = b"", b""
    for number, (name, content, method, size) in enumerate(records):
        name = name.replace(b"%d", b"%d" % number)
        fields = (20, 0, method, 0, 0, 1, len(content), size, len(name), 0)
        header = struct.pack("<HHHHHIIIHH", *fields)
        version, offset = struct.pack("<H", 20), struct.pack("<I", len(body))
        directory += b"PK\x01\x02" + version + header + bytes(10) + offset + name
        body += b"PK\x03\x04" + header + name + content
    count = len(records) & 0xFFFF
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end
