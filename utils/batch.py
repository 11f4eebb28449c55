"""Functions for batches of any form: tensors in nested tuples, lists and mappings.

They do not use ``torch.utils._pytree``, which is four to eight times slower. It also supports
neither other mappings, such as HuggingFace's ``BatchEncoding``, nor subclasses of list and tuple.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from utils.errors import UserError

TARGET_KEYS = ("target", "targets", "label", "labels")


def to_device(batch: Any, device: torch.device) -> Any:
    """Moves every tensor in ``batch`` to ``device``, and everything else that has a method ``to``.

    Containers keep their type. Other values stay as they are.
    """
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if type(batch) in (list, tuple):  # what most loaders give
        return type(batch)([to_device(value, device) for value in batch])
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    return _map_values(lambda value: to_device(value, device), batch)


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
        is_sequence = isinstance(value, list | tuple)
        if is_sequence and len(value) == size and not _list_tensors(value):  # names, paths
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
            clone = copy.copy(value)
            clone.update(changed)
            return clone
        return type(value)(changed)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(function, value))
    if isinstance(value, list | tuple):
        return type(value)(map(function, value))
    return value


def batch_size_of(*values: Any) -> int:
    """The number of samples in the first of ``values`` that has any; 1 if none has.

    The values are the target, the output and the batch of a step. The number is the first dimension
    of a tensor, or of the tensors in a container if they agree. Any other list has one item for
    each sample, as in detection.
    """
    for value in values:
        if size := _find_size(value):
            return size
    return 1


def _find_size(value: Any) -> int:
    """The number of samples in a value, or 0 if it is unknown."""
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.ndim else 1
    if isinstance(value, Mapping):
        return next((size for size in map(_find_size, value.values()) if size), 0)
    if isinstance(value, list | tuple):
        sizes = {_find_size(item) for item in value} - {0}
        is_list_of_samples = len(sizes) > 1 or any(isinstance(item, Mapping) for item in value)
        return len(value) if is_list_of_samples else next(iter(sizes), 0)
    return 0


def num_batches(loader: object) -> int | None:
    """The number of batches in one pass; None if it is unknown, as with a stream."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
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
    if isinstance(batch, list | tuple) and len(batch) >= 2:
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
