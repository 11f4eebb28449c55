"""Checkpoints in torch's format whose pickle contains code, or claims sizes that it has not.

The functions return pickle instructions; see https://docs.python.org/3/library/pickletools.html.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.hostile_runs import NAME, Case, Make
from tests.fuzz.hostile_sandbox import CANARY, PAYLOAD

CALLS: dict[str, tuple[Any, ...]] = {
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
}
DTYPES = (
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
)


def push(value: Any) -> bytes:
    """Pushes a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def push_global(path: str) -> bytes:
    """Pushes the object with a dotted name."""
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def push_call(path: str, *args: Any) -> bytes:
    """Calls the object with a dotted name, and pushes the result."""
    return push_global(path) + push(args) + b"R"


def push_mapping(**values: bytes) -> bytes:
    """Pushes a mapping whose values are instructions."""
    return b"}" + b"".join(push(key) + value + b"s" for key, value in values.items())


def push_storage(key: str, numel: int = 16) -> bytes:
    """Pushes a state with a tensor of 4 numbers on a storage of ``numel`` numbers."""
    fields = [push("storage"), push_global("torch.FloatStorage"), push(key), push("cpu")]
    storage = b"(" + b"".join([*fields, push(numel)]) + b"tQ"
    layout = push(0) + push((4,)) + push((1,)) + b"\x89"  # offset, shape, stride, requires_grad
    hooks = push_global("collections.OrderedDict") + b")R"
    tensor = push_global("torch._utils._rebuild_tensor_v2") + b"(" + storage + layout + hooks
    return push_mapping(state_dict=push_mapping(weight=tensor + b"tR"))


SHELL = push_call("os.system", PAYLOAD)
ORDERED_DICT = push_global("collections.OrderedDict")
SHELLS = {
    "in the state_dict": push_mapping(state_dict=push_mapping(weight=SHELL)),
    "in the optimizer": push_mapping(optimizer=push_mapping(state=push_mapping(step=SHELL))),
    "in the config": push_mapping(config=push_mapping(name=SHELL)),
    "in a list in a tuple": b"(](" + SHELL + b"etl.",
    "as a key": b"}" + SHELL + b"K\x01s",
    "thrown away at once": SHELL + b"0" + push_mapping(epoch=push(1)),
    "in an OrderedDict": ORDERED_DICT + b")R(" + push("weight") + SHELL + b"u",
    "as the state of an OrderedDict": ORDERED_DICT + b")R" + push_mapping(__reduce__=SHELL) + b"b",
    "as the storage's key": b"((X\x07\x00\x00\x00storageX\x12\x00\x00\x00torch.FloatStorage"
    + SHELL
    + b"X\x03\x00\x00\x00cpuK\x04tQ",
    "as a persistent id": SHELL + b"Q",
    "through torch's rebuilding": push_global("torch._tensor._rebuild_from_type_v2")
    + b"("
    + push_global("os.system")
    + push_global("torch.Tensor")
    + push((PAYLOAD,))
    + b"}tR",
    "through the memo": SHELL + b"q\x00" + push_mapping(a=b"h\x00"),
    "after the end": push_mapping(epoch=push(1)) + b"." + SHELL,
    "by a stack of names": push("os") + push("system") + b"\x93" + push((PAYLOAD,)) + b"R",
    "by an extension's code": b"\x82\x01" + push((PAYLOAD,)) + b"R",
    "by an old instance": b"(" + push(PAYLOAD) + b"ios\nsystem\n",
    "by an object": b"(" + push_global("os.system") + push(PAYLOAD) + b"o",
}
SIZES = {
    "a key that leads out": push_storage("../../../outside/victim"),
    "a storage that is larger than its record": push_storage("0", numel=10**9),
    "a storage of less than nothing": push_storage("0", numel=-1),
    "half a terabyte of bytes": push_call("builtins.bytearray", 2**39),
    "100,000 lists": b"]" * 100_000 + b"a" * 99_999,
    "a mapping that holds itself": b"}q\x00" + push("config") + b"h\x00s",
    "no end": b"(" * 1000,
}


def forge(instructions: bytes, name: str = NAME) -> Make:
    """Replaces the good checkpoint by one in torch's format with this pickle in it."""

    def make(run: Path) -> None:
        (run / NAME).unlink()
        records = {
            "data.pkl": b"\x80\x02" + instructions + b".",
            "version": b"3\n",
            "byteorder": b"little",
            "data/0": bytes(64),
        }
        with zipfile.ZipFile(run / name, "w") as archive:
            for record, data in records.items():
                archive.writestr(f"archive/{record}", data)

    return make


def pickles() -> Iterator[Case]:
    for path, args in CALLS.items():
        yield Case(f"pickle: {path}", forge(push_call(path, *args)))
    for where, instructions in SHELLS.items():
        yield Case(f"pickle: os.system {where}", forge(instructions))
    for what, instructions in SIZES.items():
        yield Case(f"pickle: {what}", forge(instructions))


def trusted_names() -> Iterator[Case]:
    """Names that the project allows in a checkpoint, with arguments that they never get."""
    for name in ("parse_config.ConfigParser", "config.parser.ConfigParser"):
        yield from _config_parsers(name)
    for name in ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath"):
        path = push_call(name, "/", "etc", "../x")
        yield Case(f"{name}: that leads out", forge(push_mapping(config=path)))
        yield Case(f"{name}: of numbers", forge(push_call(name, 1, 2)))
    scalar = push_global("numpy.core.multiarray.scalar") + b"("
    for dtype in DTYPES:
        number = scalar + push_call("numpy.dtype", dtype, 0, 1) + push("12345678") + b"tR"
        yield Case(f"numpy.dtype: {dtype[:20]!r}", forge(push_mapping(monitor_best=number)))
    for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"):
        yield Case(f"{name}: of text", forge(push_call(name, "f8", "12345678")))
        yield Case(f"{name}: of nothing", forge(push_call(name)))
    state = push_call("numpy.dtype", "f8", 0, 1) + b"(" + push(3) + b"]" + b"tb"
    yield Case("numpy.dtype: with an odd state", forge(push_mapping(monitor_best=state)))


def _config_parsers(name: str) -> Iterator[Case]:
    made = push_global(name) + b")\x81"
    with_code = made + push_mapping(_config=SHELL) + b"b"
    yield Case(f"{name}: with code", forge(push_mapping(config=with_code)))
    with_args = push_call(name, "config.json", 1, 2, 3)
    yield Case(f"{name}: with arguments", forge(push_mapping(config=with_args)))
    with_class = made + push_mapping(__class__=push(1)) + b"b"
    yield Case(f"{name}: with a class's attributes", forge(with_class))
    yield Case(f"{name}: with a list", forge(made + push([1]) + b"b"))
    empty = push_mapping(state_dict=b"}", optimizer=b"}", epoch=push(1), config=made)
    yield Case(f"{name}: with nothing", forge(empty))
