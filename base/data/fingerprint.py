"""Tells whether a dataset has changed since the workers got their copies of it."""

from __future__ import annotations

import copyreg
import hashlib
import pickle
import types
from typing import Any

import numpy as np
import torch

from base.data.generators import GENERATORS, get_state
from base.data.walk import FUNCTIONS, find_user_module, list_attributes, list_references

MAX_BYTES = 16 * 2**20  # of plain Python objects; more are not compared
MAX_OBJECTS = 20_000  # that Python code describes, which takes 15 microseconds each
MAX_ARRAY_BYTES = 16 * 2**20  # of one array or tensor; of larger ones, sums are compared
SAMPLE_SIZE = 2**16  # elements
BLOCK_SIZE = 2**12  # words of 8 bytes that have one sum
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


class TooLargeError(Exception):
    """The objects hold too much to compare."""


class _Hash:
    """A file that keeps only a hash of what is written."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.bytes_left = MAX_BYTES

    def write(self, data: Any) -> None:
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise TooLargeError
        self.digest.update(data)


class _Pickler(pickle.Pickler):
    """Writes all plain values in an object. It runs no code of the object."""

    def __init__(self, file: _Hash) -> None:
        super().__init__(file, protocol=4)
        self._modules: set[types.ModuleType] = set()
        self._objects_left = MAX_OBJECTS

    def reducer_override(self, value: Any) -> Any:
        """The content of an object that is no plain container, as arguments of a function."""
        if value is _mark:
            return NotImplemented
        self._objects_left -= 1
        if self._objects_left < 0:
            raise TooLargeError
        if isinstance(value, torch.Tensor):
            return _mark, ("tensor", *_describe_tensor(value))
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return _mark, ("array", str(value.dtype), value.shape, _hash_array(value))
        if isinstance(value, types.ModuleType):
            return _mark, ("module", value.__name__)
        if isinstance(value, type):
            return _mark, ("class", value.__module__, value.__qualname__)
        if isinstance(value, GENERATORS):
            try:
                state = get_state(value)
            except NotImplementedError:
                state = None
            return _mark, ("generator", type(value).__name__, state)
        if isinstance(value, FUNCTIONS):
            return _mark, ("function",), self._describe_function(value)
        if isinstance(value, list | tuple | dict | set | frozenset) or hasattr(value, "__dict__"):
            # A state is written after the object is remembered, so an object may refer to itself.
            return _mark, ("object",), self._describe_object(value)
        return _reduce(value)

    def _describe_function(self, value: Any) -> list[Any]:
        content: list[Any] = [type(value).__qualname__, list_references(value)]
        if isinstance(value, types.FunctionType):
            content += [value.__qualname__, self._list_globals(value.__module__)]
        return content

    def _describe_object(self, value: Any) -> list[Any]:
        kind = type(value)
        content: list[Any] = [kind.__module__, kind.__qualname__, list_attributes(value)]
        if isinstance(value, dict):
            content.append(list(value.items()))
        elif isinstance(value, list | tuple | set | frozenset):
            content.append(list(value))
        for parent in kind.__mro__:
            if find_user_module(parent.__module__) is not None:
                content += [_pick_data(vars(parent)), self._list_globals(parent.__module__)]
        return content

    def _list_globals(self, name: str | None) -> dict[str, Any]:
        """The data in a module of the user, once."""
        module = find_user_module(name)
        if module is None or module in self._modules:
            return {}
        self._modules.add(module)
        return _pick_data(vars(module))


def fingerprint(value: Any) -> bytes | None:
    """A hash of everything in ``value``, the classes and modules of the user included.

    Of large arrays it covers sums; of those in a file, a sample. It is None if there is too much
    to compare.
    """
    file = _Hash()
    try:
        _Pickler(file).dump(value)
    except (TooLargeError, RecursionError):
        return None
    return file.digest.digest()


def _mark(*content: Any) -> Any:
    """Stands for an object in a pickle, which is never read."""
    return content


def _pick_data(attributes: Any) -> dict[str, Any]:
    kinds = (bool, int, float, str, list, tuple, dict, set, np.ndarray, torch.Tensor, *GENERATORS)
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, kinds) and not name.startswith("__")
    }


def _reduce(value: Any) -> Any:
    """The content of an object of a C extension; only its type if it cannot be pickled."""
    if type(value) in copyreg.dispatch_table:
        return NotImplemented
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # such as a lock, a file, or a running iterator
        return _mark, ("opaque", type(value).__qualname__, id(value))
    return NotImplemented if isinstance(reduced, str) else reduced


def _describe_tensor(tensor: torch.Tensor) -> list[Any]:
    kind = type(tensor).__qualname__
    about: list[Any] = [str(tensor.dtype), tuple(tensor.shape), str(tensor.device), kind]
    is_dense = tensor.layout == torch.strided and not tensor.is_quantized
    can_read = tensor.is_cpu and is_dense
    if not can_read or tensor.nbytes > MAX_ARRAY_BYTES:  # then torch's count of changes helps
        about.append(0 if tensor.is_inference() else tensor._version)
    if not can_read:
        return about
    plain = tensor.detach().resolve_conj().resolve_neg()
    plain = torch.view_as_real(plain) if plain.is_complex() else plain
    # NumPy has no bf16. The view keeps the strides, because a copy could fill the memory.
    array = plain.view(INTEGERS[plain.element_size()]).numpy()
    return [*about, _hash_array(array, tensor.untyped_storage().filename is not None)]


def _hash_array(array: Any, is_in_file: bool = False) -> bytes:
    """A hash of an array; of a large one, of its sums over blocks and of a sample.

    Reading a large file in every epoch would take too long, so there the sample must do.
    """
    if array.nbytes <= MAX_ARRAY_BYTES:
        return _digest(array)
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    sample = _digest(np.asarray(flat[:: array.size // SAMPLE_SIZE]))
    if is_in_file or isinstance(array, np.memmap) or isinstance(array.base, np.memmap):
        return sample
    return sample + _digest(_sum_blocks(array))


def _sum_blocks(array: Any) -> Any:
    """The sums over blocks of a contiguous array, or over the last dimension of another one."""
    if not array.flags.c_contiguous:
        kind = f"u{array.itemsize}" if array.itemsize <= 8 else array.dtype
        return array.view(kind).sum(axis=-1)
    content = array.reshape(-1).view(np.uint8)
    words = content[: content.size // 8 * 8].view(np.uint64)
    sums = np.add.reduceat(words, range(0, words.size, BLOCK_SIZE))
    return np.append(sums, content[words.nbytes :])


def _digest(array: Any) -> bytes:
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
