"""Functions for batches of any form: tensors in nested tuples, lists and mappings.

They do not use ``torch.utils._pytree``, which is four to eight times slower. It also supports
neither other mappings, such as HuggingFace's ``BatchEncoding``, nor subclasses of list and tuple.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from utils.errors import UserError

PINNED_FOR = ("cuda", "xpu")  # devices that copy faster from pinned memory, and without waiting
GRAPH_COUNTS = ("num_graphs", "batch_size")  # of batches of graphs: PyG, DGL
TARGET_KEYS = ("target", "targets", "label", "labels")


def to_device(batch: Any, device: torch.device) -> Any:
    """Moves every tensor in ``batch`` to ``device``, and everything else that has a method ``to``.

    Containers and dataclasses keep their type. Other values stay as they are. Copies to an
    accelerator do not wait for it. Copies to the CPU do, because otherwise they could be read
    before they are complete.
    Source: https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
    """
    if isinstance(batch, torch.Tensor):
        if batch.device == device:
            return batch
        return batch.to(device, non_blocking=device.type != "cpu")
    if type(batch) in (list, tuple):  # what most loaders give
        return type(batch)([to_device(value, device) for value in batch])
    if _has_to(batch):  # a PackedSequence, a batch of graphs, a BatchEncoding
        names = _get_to_names(getattr(type(batch), "to", batch.to))
        values = {"device": device, "non_blocking": device.type != "cpu"}
        options = {name: value for name, value in values.items() if name in names}
        moved = batch.to(**options) if "device" in names else batch.to(device, **options)
        return batch if moved is None else moved  # None: it has moved itself
    return _map_values(lambda value: to_device(value, device), batch)


def _has_to(value: Any) -> bool:
    """Whether a value has a method ``to``. In a batch of edges, ``to`` may be a tensor."""
    return callable(getattr(value, "to", None))


@functools.cache
def _get_to_names(method: Callable[..., Any]) -> set[str]:
    """The arguments that a class's method ``to`` takes by name.

    ``device`` is one of them only if it has no position.
    """
    try:
        parameters = inspect.signature(method).parameters
    except ValueError:  # it is not written in Python
        return set()
    names = {"device"} if _is_keyword_only(parameters.get("device")) else set()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return names | {"non_blocking"} if takes_all or "non_blocking" in parameters else names


def _is_keyword_only(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY


def is_sequence(value: Any) -> bool:
    """Whether a value is a list or tuple, and not one object as a PackedSequence is."""
    return isinstance(value, list | tuple) and not _has_to(value)


def num_samples(batch: Any) -> int:
    """The number of samples in a batch, or 0 if it is unknown.

    It is the first dimension of the tensors, which must all agree. In a batch of lists, as in
    detection, it is the length of the lists, which must all agree.
    """
    if _is_of_lists(batch):
        sizes = {len(value) for value in batch}
    else:
        sizes = {len(tensor) for tensor in _list_tensors(batch) if tensor.ndim}
    return sizes.pop() if len(sizes) == 1 else 0


def repeat_samples(batch: Any, size: int) -> Any:
    """A batch of ``size`` samples: those of ``batch``, repeated.

    ``num_samples(batch)`` must not be 0.
    """
    count = num_samples(batch)

    def repeat(values: Any) -> Any:
        if isinstance(values, torch.Tensor):
            return values[torch.arange(size) % count]
        return type(values)(values[index % count] for index in range(size))

    return _map_samples(repeat, batch)


def _map_samples(function: Callable[[Any], Any], batch: Any) -> Any:
    """Applies ``function`` to everything in a batch that has one item for each sample.

    These are all tensors with dimensions, and all lists of names or samples.
    """
    size = num_samples(batch)

    def change(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return function(value) if value.ndim else value
        is_list = isinstance(value, list | tuple)
        if is_list and len(value) == size and not _list_tensors(value):  # names, paths
            return function(value)
        return _map_values(change, value)

    return type(batch)(map(function, batch)) if _is_of_lists(batch) else change(batch)


def _is_of_lists(batch: Any) -> bool:
    """Whether a batch consists of lists with one item for each sample: images, and their boxes."""
    return isinstance(batch, list | tuple) and all(
        isinstance(value, list | tuple) for value in batch
    )


def _list_tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in a batch, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    items: Iterable[Any] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    return [tensor for item in items for tensor in _list_tensors(item)]


def _map_values(function: Callable[[Any], Any], value: Any) -> Any:
    """A container of the same type with ``function`` of each item; anything else as it is."""
    if isinstance(value, Mapping):
        changed = {key: function(item) for key, item in value.items()}
        if type(value) is dict:
            return changed
        if isinstance(value, dict):  # a defaultdict, for one, cannot be made from a dict
            container = copy.copy(value)
            for key, item in changed.items():  # `update` is forbidden in HuggingFace's ModelOutput
                container[key] = item
            return container
        return type(value)(changed)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(function, value))
    if isinstance(value, list | tuple):
        return type(value)(map(function, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        clone: Any = copy.copy(value)
        for field in dataclasses.fields(value):
            item = function(getattr(value, field.name))
            object.__setattr__(clone, field.name, item)  # it may be frozen
        return clone
    return value


def batch_size_of(*values: Any) -> int:
    """The number of samples in the first of ``values`` that has any; 1 if none has.

    The values are the target, the output and the batch of a step. The number is the first dimension
    of a tensor, or of the tensors in a container if they agree. Any other list has one item for
    each sample, as in detection.
    """
    for value in values:
        if isinstance(value, torch.Tensor) and value.ndim:
            return value.shape[0]
        if size := _find_size(value):
            return size
    return 1


def count_samples(num_read: int | None, target: Any, output: Any = None, batch: Any = None) -> int:
    """The number of samples in a batch, for which the loader has read ``num_read`` samples.

    The first dimension of a target may be something else, such as characters (CTC), time or nodes.
    But a collate function may also have left samples out, or a sample may be a batch itself: then
    all tensors agree on another number.
    """
    if isinstance(target, torch.Tensor) and target.ndim and num_read in (None, target.shape[0]):
        return target.shape[0]  # the usual case
    if _is_of_lists(batch) and (size := num_samples(batch)):
        return size
    if num_read is None:
        return _find_common_size(target, batch) or batch_size_of(target, output, batch)
    batch = target if batch is None else batch
    shapes = [tensor.shape for tensor in _list_tensors(batch) if tensor.ndim]
    is_first = any(shape[0] == num_read for shape in shapes)
    is_second = all(len(shape) > 1 and shape[1] == num_read for shape in shapes)
    if is_first or (is_second and not _is_of_lists(batch)):
        return num_read
    return num_samples(batch) or num_read


def _find_common_size(target: Any, batch: Any) -> int:
    """The input's size, if the tensors of a target have several sizes and this is one; else 0.

    Examples are characters with their counts (CTC), and nodes with their graphs.
    """
    if isinstance(target, torch.Tensor):
        return 0
    sizes = {len(tensor) for tensor in _list_tensors(target) if tensor.ndim}
    size = next((len(tensor) for tensor in _list_tensors(batch) if tensor.ndim), 0)
    return size if len(sizes) > 1 and size in sizes else 0


def is_empty(batch: Any) -> bool:
    """Whether a batch has no samples: all its tensors or lists have the length 0."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else None
    if isinstance(first, torch.Tensor) and first.ndim and first.shape[0]:  # the usual batch
        return False
    tensors = [tensor for tensor in _list_tensors(batch) if tensor.ndim]
    if tensors:
        return all(len(tensor) == 0 for tensor in tensors)
    return batch is None or (_is_of_lists(batch) and not any(batch))


def as_plain(value: Any) -> Any:
    """A model's output without its graph, in fp32 if it is in half precision (NumPy has no bf16).

    In containers, every tensor is changed.
    """
    if isinstance(value, torch.Tensor):
        is_half = value.is_floating_point() and value.itemsize < 4
        return value.detach().float() if is_half else value.detach()
    return _map_values(as_plain, value)


def _find_size(value: Any) -> int:
    """The number of samples in a value, or 0 if it is unknown."""
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.ndim else 1
    if isinstance(value, Mapping):
        return next((size for size in map(_find_size, value.values()) if size), 0)
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if isinstance(value, list | tuple):
        sizes = {_find_size(item) for item in value} - {0}
        is_list_of_samples = len(sizes) > 1 or any(isinstance(item, Mapping) for item in value)
        return len(value) if is_list_of_samples else next(iter(sizes), 0)
    counts = (getattr(value, name, None) for name in GRAPH_COUNTS)
    return next((count for count in counts if isinstance(count, int)), 0)


def num_batches(loader: object) -> int | None:
    """The number of batches in one pass; None if it is unknown, as with a stream."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def find_target(batch: Any) -> Any:
    """The target of a batch in a form that ``split_target`` accepts; None for any other form."""
    if is_sequence(batch) and len(batch) >= 2:
        return batch[-1]
    if isinstance(batch, Mapping):
        return next((batch[key] for key in TARGET_KEYS if key in batch), None)
    return None


def split_target(batch: Any) -> tuple[Any, Any]:
    """Splits a batch into the model's inputs and the target.

    A sequence ends with the target. A mapping holds it as ``target``, ``targets``, ``label`` or
    ``labels``.

    Returns:
        ``(inputs, target)``. Several inputs are a tuple of positional or a mapping of keyword
        arguments for the model.

    Raises:
        UserError: the batch has another form.
    """
    if is_sequence(batch) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return inputs, batch[-1]
    if isinstance(batch, Mapping):
        for key in TARGET_KEYS:
            if key in batch:
                return {name: value for name, value in batch.items() if name != key}, batch[key]
        raise UserError(
            f"a batch with the keys {', '.join(map(str, batch))} holds no target: "
            f"name it one of {', '.join(TARGET_KEYS)}, or override Trainer.forward"
        )
    raise UserError(
        f"a batch of type {type(batch).__name__} holds no (input, target) pair: "
        "return pairs or dicts from the dataset, or override Trainer.forward"
    )
