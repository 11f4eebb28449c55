"""Checkpoints of a stranger who wants more than to be trained on."""

from __future__ import annotations

import copy
import io
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.hostile_sandbox import CANARY, PAYLOAD

NAME = "checkpoint-epoch1.pt"
Make = Callable[[Path], None]  # gets the folder of a good run and spoils it


@dataclass
class Case:
    """A hostile checkpoint, or what lies around it.

    Attributes:
        name: of the case.
        make: writes it into the folder of a run that was good.
        resume: what follows ``-r``.
        passes: it may be used if that does no harm.
    """

    name: str
    make: Make
    resume: str = f"run/{NAME}"
    passes: bool = False


def cases() -> list[Case]:
    from tests.fuzz.hostile_states import archives, folders, states

    return [*pickles(), *stand_ins(), *formats(), *archives(), *states(), *folders()]


# -- pickles with code ----------------------------------------------------------------------------------------------


def plain(value: Any) -> bytes:
    """The instructions that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def name_of(path: str) -> bytes:
    """The instruction that pushes what is found under a dotted name."""
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def call(path: str, *args: Any) -> bytes:
    return name_of(path) + plain(args) + b"R"


def mapping(**values: bytes) -> bytes:
    return b"}" + b"".join(plain(key) + value + b"s" for key, value in values.items())


def forged(instructions: bytes, path: str = NAME) -> Make:
    """A checkpoint in torch's format, with this pickle in it."""

    def make(run: Path) -> None:
        (run / NAME).unlink()
        with zipfile.ZipFile(run / path, "w") as archive:
            content = {
                "data.pkl": b"\x80\x02" + instructions + b".",
                "version": b"3\n",
                "byteorder": b"little",
            }
            for record, data in {**content, "data/0": bytes(64)}.items():
                archive.writestr(f"archive/{record}", data)

    return make


def pickles() -> Iterator[Case]:
    shell = call("os.system", PAYLOAD)
    for path, args in {
        "os.system": (PAYLOAD,),
        "posix.system": (PAYLOAD,),
        "nt.system": (PAYLOAD,),
        "os.popen": (PAYLOAD,),
        "pty.spawn": ("touch",),
        "subprocess.Popen": (["touch", CANARY],),
        "builtins.eval": (f"open('{CANARY}', 'w')",),
        "builtins.exec": (f"open('{CANARY}', 'w')",),
        "builtins.open": (CANARY, "w"),
        "builtins.__import__": ("os",),
        "__builtin__.eval": (f"open('{CANARY}', 'w')",),
        "builtins.getattr": ("", "format"),
        "operator.attrgetter": ("system",),
        "operator.methodcaller": ("system", PAYLOAD),
        "functools.partial": (print, CANARY),
        "runpy.run_path": (CANARY,),
        "shutil.rmtree": ("../outside",),
        "pathlib.Path": ("../outside/victim",),
        "torch.hub.load": ("stranger/repository", "model"),
        "torch.load": ("../outside/victim",),
        "torch.save": (1, "../outside/victim"),
        "torch.jit.load": ("../outside/victim",),
        "torch._dynamo.optimize": (),
        "torch.utils.data.DataLoader": ([],),
        "config.build.call": (None, None),
        "utils.util.write_json": (1, "../outside/victim"),
    }.items():
        yield Case(f"pickle: {path}", forged(call(path, *args)))
    tensor = (
        b"((X\x07\x00\x00\x00storageX\x12\x00\x00\x00torch.FloatStorage"
        + shell
        + b"X\x03\x00\x00\x00cpuK\x04tQ"
    )
    for where, instructions in {
        "in the state_dict": mapping(state_dict=mapping(weight=shell)),
        "in the optimizer": mapping(optimizer=mapping(state=mapping(step=shell))),
        "in the config": mapping(config=mapping(name=shell)),
        "in a list in a tuple": b"(](" + shell + b"etl.",
        "as a key": b"}" + shell + b"K\x01s",
        "thrown away at once": shell + b"0" + mapping(epoch=plain(1)),
        "in an OrderedDict": name_of("collections.OrderedDict")
        + b")R("
        + plain("weight")
        + shell
        + b"u",
        "as the state of an OrderedDict": name_of("collections.OrderedDict")
        + b")R"
        + mapping(__reduce__=shell)
        + b"b",
        "as the storage's key": tensor,
        "as a persistent id": shell + b"Q",
        "through torch's rebuilding": name_of("torch._tensor._rebuild_from_type_v2")
        + b"("
        + name_of("os.system")
        + name_of("torch.Tensor")
        + plain((PAYLOAD,))
        + b"}tR",
        "through the memo": shell + b"q\x00" + mapping(a=b"h\x00"),
        "after the end": mapping(epoch=plain(1)) + b"." + shell,
        "by a stack of names": plain("os") + plain("system") + b"\x93" + plain((PAYLOAD,)) + b"R",
        "by an extension's code": b"\x82\x01" + plain((PAYLOAD,)) + b"R",
        "by an old instance": b"(" + plain(PAYLOAD) + b"ios\nsystem\n",
        "by an object": b"(" + name_of("os.system") + plain(PAYLOAD) + b"o",
    }.items():
        yield Case(f"pickle: os.system {where}", forged(instructions))
    yield Case("pickle: a key that leads out", forged(storage("../../../outside/victim")))
    yield Case(
        "pickle: a storage that is larger than its record", forged(storage("0", numel=10**9))
    )
    yield Case("pickle: a storage of less than nothing", forged(storage("0", numel=-1)))
    yield Case("pickle: half a terabyte of bytes", forged(call("builtins.bytearray", 2**39)))
    yield Case("pickle: 100,000 lists", forged(b"]" * 100_000 + b"a" * 99_999))
    yield Case(
        "pickle: a mapping that holds itself", forged(b"}q\x00" + plain("config") + b"h\x00s")
    )
    yield Case("pickle: no end", forged(b"(" * 1000))


def storage(key: str, numel: int = 16) -> bytes:
    """A state with a tensor on a storage."""
    fields = (
        plain("storage") + name_of("torch.FloatStorage") + plain(key) + plain("cpu") + plain(numel)
    )
    tensor = (
        name_of("torch._utils._rebuild_tensor_v2")
        + b"(("
        + fields
        + b"tQ"
        + plain(0)
        + plain((4,))
        + plain((1,))
    )
    return mapping(
        state_dict=mapping(weight=tensor + b"\x89" + name_of("collections.OrderedDict") + b")RtR")
    )


# -- what the project itself lets in --------------------------------------------------------------------------------


def stand_ins() -> Iterator[Case]:
    """The names that stand for harmless classes of ours, with arguments that they were not made for."""
    shell = call("os.system", PAYLOAD)
    for name in ("parse_config.ConfigParser", "config.parser.ConfigParser"):
        made = name_of(name) + b")\x81"
        yield Case(
            f"{name}: with code", forged(mapping(config=made + mapping(_config=shell) + b"b"))
        )
        yield Case(
            f"{name}: with arguments", forged(mapping(config=call(name, "config.json", 1, 2, 3)))
        )
        yield Case(
            f"{name}: with a class's attributes", forged(made + mapping(__class__=plain(1)) + b"b")
        )
        yield Case(f"{name}: with a list", forged(made + plain([1]) + b"b"))
        empty = mapping(state_dict=b"}", optimizer=b"}", epoch=plain(1), config=made)
        yield Case(f"{name}: with nothing", forged(empty))
    for name in ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath"):
        yield Case(
            f"{name}: that leads out", forged(mapping(config=call(name, "/", "etc", "../x")))
        )
        yield Case(f"{name}: of numbers", forged(call(name, 1, 2)))
    for dtype in (
        "O",
        "O8",
        "f8,O",
        "V1000000000",
        "(1000000000,)f8",
        "f99999999",
        "f8" * 100_000,
        "U10",
        "M8[ns]",
        "",
    ):
        number = (
            name_of("numpy.core.multiarray.scalar")
            + b"("
            + call("numpy.dtype", dtype, 0, 1)
            + plain("12345678")
        )
        yield Case(f"numpy.dtype: {dtype[:20]!r}", forged(mapping(monitor_best=number + b"tR")))
    for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"):
        yield Case(f"{name}: of text", forged(call(name, "f8", "12345678")))
        yield Case(f"{name}: of nothing", forged(call(name)))
    state = call("numpy.dtype", "f8", 0, 1) + b"(" + plain(3) + b"]" + b"tb"
    yield Case("numpy.dtype: with an odd state", forged(mapping(monitor_best=state)))


# -- other formats --------------------------------------------------------------------------------------------------


class Shell:
    def __reduce__(self) -> Any:
        import os

        return os.system, (PAYLOAD,)


def tar_of(names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def formats() -> Iterator[Case]:
    code = pickle.dumps(Shell(), 2)
    old = io.BytesIO()
    torch.save(
        {"state_dict": {"weight": torch.ones(2)}, "config": Shell()},
        old,
        _use_new_zipfile_serialization=False,
    )
    tar = tar_of({"sys_info": plain({}), "tensors": code, "storages": code, "pickle": code})
    contents = {
        "empty": b"",
        "text": b"import os\n",
        "a bare pickle": code,
        "a script": b"#!/bin/sh\ntouch executed\n",
        "torch's older format": old.getvalue(),
        "torch's oldest format": tar,
        "a tar that leads out": tar_of(
            {"../../outside/victim": b"owned", "/tmp/executed": b"owned", "pickle": code}
        ),
        "TorchScript": script(),
        "a zip of text": zip_of({"readme.txt": b"hello"}),
        "a document": zip_of(
            {"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>"}
        ),
        "a zip that leads out": zip_of(
            {"../../outside/victim": b"owned", "/tmp/executed": b"owned", "data.pkl": code}
        ),
        "a zip in a zip": zip_of(
            {"archive/data.pkl": zip_of({"archive/data.pkl": code}), "archive/version": b"3"}
        ),
        "a zip of nothing": zip_of({}),
        "the head of a zip": b"PK\x03\x04",
    }
    for what, content in contents.items():
        for name in (NAME, "checkpoint-epoch1.pth"):
            yield Case(f"format: {what} as {name[-4:]}", written(name, content), f"run/{name}")


def written(name: str, content: bytes) -> Make:
    def make(run: Path) -> None:
        if name.endswith(".pth"):
            (run / NAME).unlink()  # or that one would be gone back to
        (run / name).write_bytes(content)

    return make


def altered(change: Callable[[dict[str, Any]], Any], name: str = NAME) -> Make:
    """The good checkpoint with a change."""

    def make(run: Path) -> None:
        state = torch.load(run / NAME, weights_only=True)
        result = change(state)
        torch.save(state if result is None else result, run / name)

    return make


def with_values(path: str, value: Any) -> Make:
    """The good checkpoint with another value at ``a/b/c``."""

    def change(state: dict[str, Any]) -> None:
        node: Any = state
        *sections, last = path.split("/")
        for section in sections:
            node = node[int(section) if isinstance(node, list) else section]
        node[last] = copy.deepcopy(value) if not isinstance(value, OrderedDict) else value

    return altered(change)
