"""What the loop needs to know of a batch, whatever its shape: tensors in tuples, lists, dicts, nested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from utils.errors import UserError

TARGET_KEYS = ("target", "targets", "label", "labels")


def to_device(batch: Any, device: torch.device) -> Any:
    """Moves every tensor in ``batch`` to ``device``; containers keep their type, other values stay."""
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if type(batch) in (list, tuple):  # what most loaders give
        return type(batch)([to_device(value, device) for value in batch])
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    return _rebuilt(batch, lambda value: to_device(value, device))


def num_samples(batch: Any) -> int:
    """The samples of a batch that ``narrow`` can cut: all its tensors agree on them, or all its lists; else 0."""
    if _is_of_lists(batch):
        sizes = {len(value) for value in batch}
    else:
        sizes = {len(tensor) for tensor in _tensors(batch) if tensor.ndim}
    return sizes.pop() if len(sizes) == 1 else 0


def narrow(batch: Any, start: int, end: int) -> Any:
    """Samples ``start`` to ``end`` of a batch whose ``num_samples`` is not 0."""
    return _along_samples(batch, lambda values: values[start:end])


def repeat_samples(batch: Any, size: int) -> Any:
    """A batch of ``size`` samples: those of one whose ``num_samples`` is not 0, again and again."""
    count = num_samples(batch)

    def more(values: Any) -> Any:
        if isinstance(values, torch.Tensor):
            return values[torch.arange(size) % count]
        return type(values)(values[place % count] for place in range(size))

    return _along_samples(batch, more)


def _along_samples(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The batch with all changed that has an item for each sample: tensors, and lists of names or of samples."""
    size = num_samples(batch)

    def walk(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value) if value.ndim else value
        if (
            isinstance(value, list | tuple) and len(value) == size and not _tensors(value)
        ):  # names, paths
            return change(value)
        return _rebuilt(value, walk)

    return type(batch)(map(change, batch)) if _is_of_lists(batch) else walk(batch)


def _is_of_lists(batch: Any) -> bool:
    """Whether it is one of lists of samples, as in detection: the images, and what is on each."""
    return isinstance(batch, list | tuple) and all(
        isinstance(value, list | tuple) for value in batch
    )


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    return [tensor for item in inner for tensor in _tensors(item)]


def _rebuilt(batch: Any, change: Callable[[Any], Any]) -> Any:
    """A container of the same type with its values changed; anything else as it is."""
    if isinstance(batch, Mapping):
        changed = {key: change(value) for key, value in batch.items()}
        return changed if type(batch) is dict else type(batch)(changed)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(change, batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map(change, batch))
    return batch


def batch_size_of(*values: Any) -> int:
    """The number of samples, as the first of ``values`` that tells it does: target, output, batch; else 1.

    A tensor has as many as its first dimension; so has a container of them where all agree. Otherwise a list is one of
    samples, as in detection.
    """
    for value in values:
        if size := _size(value):
            return size
    return 1


def _size(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.ndim else 1
    if isinstance(value, Mapping):
        return next((size for size in map(_size, value.values()) if size), 0)
    if isinstance(value, list | tuple):
        sizes = {_size(item) for item in value} - {0}
        samples = len(sizes) > 1 or any(isinstance(item, Mapping) for item in value)
        return len(value) if samples else next(iter(sizes), 0)
    return 0


def num_batches(loader: Any) -> int | None:
    """The batches of one pass; None for an iterable dataset that does not tell."""
    try:
        return len(loader)
    except TypeError:
        return None


def split_target(batch: Any) -> tuple[Any, Any]:
    """Splits a batch into the model's inputs and the target.

    A sequence ends with the target; a mapping holds it as ``target``, ``targets``, ``label`` or ``labels``.

    Returns:
        ``(inputs, target)``; ``inputs`` goes to ``call_model``.
    """
    if isinstance(batch, (list, tuple)) and len(batch) >= 2:
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    if isinstance(batch, Mapping):
        key = next((key for key in TARGET_KEYS if key in batch), None)
        if key is None:
            raise UserError(
                f"a batch with the keys {', '.join(map(str, batch))} holds no target: "
                f"name it one of {', '.join(TARGET_KEYS)}, or override Trainer.forward"
            )
        return {name: value for name, value in batch.items() if name != key}, batch[key]
    raise UserError(
        f"a batch of type {type(batch).__name__} holds no (input, target) pair: "
        "return pairs or dicts from the dataset, or override Trainer.forward"
    )


def call_model(model: torch.nn.Module, inputs: Any) -> Any:
    """Calls ``model`` with a tensor, a sequence as positional or a mapping as keyword arguments."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, list | tuple) else model(inputs)
