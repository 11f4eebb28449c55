"""Reads old checkpoints that hold objects of a project, without running code of the file.

Pickle calls what a file names. Here it finds only the functions of CALLS and classes without
methods, which hold the data of an object. A class of the project that is imported already, and
whose attributes are plain, gets its methods back: its objects are made without a call.
"""

from __future__ import annotations

import codecs
import collections
import datetime
import pickle
import pickletools
import types
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch

from base.checkpoint.project_classes import find_constant_function, find_plain_class
from base.checkpoint.template import REPLACEMENTS, OldConfig, OldLogger, find_config
from utils.errors import UserError

# What torch.save writes, in the versions of pickle since 2018. Others may call or allocate more.
FORBIDDEN = {
    *("EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX"),
    *("PERSID", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"),
}
UNSAFE = "which runs any code that the file holds"


class RefusedObjectError(UserError, AttributeError):
    """Something is needed of an object of which only the data was read."""


def refuse(name: str, reason: str, where: str) -> RefusedObjectError:
    """Returns the error for an object whose methods are needed."""
    if not where:
        return RefusedObjectError(f"`{name}` in a checkpoint was read as data only: {reason}")
    return RefusedObjectError(
        f"{where}: of `{name}` in this checkpoint, only the data was read: {reason}; if you trust "
        f"the file, call torch.load with weights_only=False there, {UNSAFE}"
    )


class Call:
    """A function that a file may call. A file cannot change it."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, _: Any) -> NoReturn:
        raise pickle.UnpicklingError("a function has no state")


class DataType(type):
    """The type of the classes that stand for classes and functions of a file.

    Attributes:
        full_name: the name in the file, with the module.
        is_strict, where: see ``DataUnpickler``.
    """

    full_name: str
    is_strict: bool
    where: str

    def __call__(cls, *args: Any) -> Any:
        """The file calls the class or function. This keeps the arguments only."""
        if cls.is_strict:
            raise pickle.UnpicklingError(f"GLOBAL {cls.full_name}")
        return make_data(cls.full_name, {"arguments": args}, where=cls.where)


class DataObject(dict[Any, Any], metaclass=DataType):
    """The data of an object: its attributes, and the items if it was a dict."""

    full_name = ""
    is_strict = True
    where = ""

    def __new__(cls, *args: Any) -> Any:
        real = find_plain_class(cls.full_name)
        if args:  # a tuple, or a plain value of a derived class
            if real is not None and issubclass(real, tuple):
                return tuple.__new__(real, args)
            return args[0] if len(args) == 1 else args
        if cls.full_name == "argparse.Namespace":
            return Namespace()
        if real is None:
            real = REPLACEMENTS.get(cls.full_name)
            return object.__new__(real) if real in (OldConfig, OldLogger) else dict.__new__(cls)
        return dict.__new__(cls) if issubclass(real, tuple) else object.__new__(real)

    def __setstate__(self, state: Any) -> None:
        states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for attributes in states:
            if isinstance(attributes, dict):
                vars(self).update(attributes)
            elif attributes is not None:
                vars(self)["state"] = state

    def __missing__(self, name: Any) -> Any:
        try:
            return find_config(vars(self))[name]  # a ConfigParser under another name
        except (KeyError, TypeError):
            raise KeyError(name) from None

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "config" and any(key.endswith("_config") for key in vars(self)):
            return find_config(vars(self))
        kind = type(self)
        raise refuse(kind.full_name, f"it has no `{name}`", kind.where)

    def extend(self, items: Any) -> None:
        """The file adds the items of a list."""
        vars(self).setdefault("elements", []).extend(items)

    def append(self, item: Any) -> None:
        self.extend([item])

    def __reduce_ex__(self, _: Any) -> Any:  # for the next checkpoint of a resumed run
        return make_data, (type(self).full_name, dict(vars(self)), dict(self))


class PlainArray(np.ndarray):
    """A NumPy array of numbers, texts or plain objects."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        kind = dtype.name.lstrip("<>|=")[:1]
        if kind not in "biufcSUO" or (kind != "O" and not isinstance(data, bytes)):
            raise pickle.UnpicklingError(f"{dtype.name} is not the type of plain values")
        super().__setstate__((1, shape, np.dtype(dtype.name), is_fortran, data))

    def __reduce__(self) -> Any:
        return np.asarray(self).view(np.ndarray).__reduce__()


def make_array(*_: Any) -> Any:
    """Returns an empty array; the file then sets its shape, type and values."""
    return np.ndarray.__new__(PlainArray, (0,))


def make_bytes(text: str, encoding: str) -> bytes:
    """Decodes bytes in the form in which old pickles write them: as a text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"{encoding} is not the encoding of bytes")
    return codecs.encode(text, encoding)


def make_bytearray(content: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
    """Returns the bytes of a file. Unlike ``bytearray``, it takes no length, which may be huge."""
    return bytearray(content if isinstance(content, bytes) else make_bytes(content, encoding))


def make_default(factory: Any = None) -> Any:
    """Returns a ``defaultdict``, whose missing values fail if their function is not harmless."""
    if isinstance(factory, Call):
        return collections.defaultdict(factory.function if factory.function in FACTORIES else None)
    if not isinstance(factory, DataType):
        return collections.defaultdict(None)

    name, where = factory.full_name, factory.where

    def refuse_default() -> NoReturn:
        raise refuse(name, "it would make the value of a missing key", where)

    return collections.defaultdict(find_constant_function(name) or refuse_default)


def make_data(name: str, attributes: Any = None, items: Any = (), where: str = "") -> Any:
    """Returns the data of an object, as ``DataObject`` saves it."""
    names = {"full_name": name, "where": where}
    kind: Any = DataType(name.rpartition(".")[2], (DataObject,), names)
    found: Any = dict.__new__(kind)
    found.update(items)
    found.__setstate__(attributes)
    return found


FACTORIES = (int, float, str, list, dict, set, tuple, bool, collections.OrderedDict)
# Names in files, and what is called instead. They make plain values only.
CALLS: dict[str, Callable[..., Any]] = {
    **{f"builtins.{kind.__name__}": kind for kind in (*FACTORIES[:-1], frozenset, complex)},
    "builtins.bytearray": make_bytearray,
    "_codecs.encode": make_bytes,
    "collections.Counter": collections.Counter,
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": make_default,
    "collections.deque": collections.deque,
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "logging.getLogger": lambda *_: make_data("logging.Logger"),
    "numpy.core.multiarray._reconstruct": make_array,
    "numpy._core.multiarray._reconstruct": make_array,
    "torch.Size": torch.Size,
    "torch.device": torch.device,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    f"{__name__}.make_data": make_data,
    **{name: value for name, value in REPLACEMENTS.items() if name.startswith(("numpy", "pathl"))},
}


class DataUnpickler(pickle.Unpickler):
    """Reads a pickle. It calls the functions of CALLS only.

    Subclasses set the attributes, because torch.load makes the object.

    Attributes:
        is_strict: whether a call of another function is an error. Otherwise an object with the
            arguments replaces the result.
        where: ``file:line`` of the project that reads the file; empty for Plainloop's reader.
    """

    is_strict = True
    where = ""

    def __init__(self, file: Any, **options: Any) -> None:
        self._classes: dict[str, DataType] = {}
        start = file.tell()
        check_opcodes(file)
        file.seek(start)
        super().__init__(file, **options)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full_name in CALLS:
            return Call(CALLS[full_name])
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        if full_name not in self._classes:
            attributes = {"full_name": full_name, "is_strict": self.is_strict, "where": self.where}
            self._classes[full_name] = DataType(name, (DataObject,), attributes)
        return self._classes[full_name]


def check_opcodes(file: Any) -> None:
    """Raises UnpicklingError if a pickle uses an opcode that checkpoints never have."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file), start=1):
            if opcode.name in FORBIDDEN:
                raise pickle.UnpicklingError(f"it has the opcode {opcode.name}")
            # pickle allocates its memo up to the index; a real one is at most the opcodes so far.
            if opcode.name.endswith("PUT") and int(argument or 0) > count:
                raise pickle.UnpicklingError(f"{argument} is no index of its memo")
    except (ValueError, UnicodeDecodeError) as error:
        raise pickle.UnpicklingError(str(error)) from None


def load_objects(file: Any, is_strict: bool, where: str = "", **options: Any) -> Any:
    """Reads a file of ``torch.save`` that ``weights_only=True`` has refused.

    Args:
        file: a path, or an open file.
        is_strict: see ``DataUnpickler``.
        where: see ``DataUnpickler``.
        **options: of ``torch.load``.

    Raises:
        pickle.UnpicklingError: the file calls a function, or is no checkpoint.
    """
    attributes = {"is_strict": is_strict, "where": where}
    module: Any = types.ModuleType("data_pickle")
    module.Unpickler = type("Unpickler", (DataUnpickler,), attributes)
    module.load = lambda stream, **words: module.Unpickler(stream, **words).load()
    options |= {"weights_only": False, "pickle_module": module}
    try:
        return torch.load(file, **options)
    except (AttributeError, TypeError, ValueError, LookupError, MemoryError) as error:
        raise pickle.UnpicklingError(str(error)) from error
