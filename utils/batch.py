"""What the loop needs to know of a batch, whatever its shape: tensors in tuples, lists, dicts, nested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .errors import UserError

TARGET_KEYS = ("target", "targets", "label", "labels")


def to_device(batch: Any, device: torch.device) -> Any:
    """Moves every tensor in ``batch`` to ``device``; containers keep their type, other values stay."""
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        moved = {key: to_device(value, device) for key, value in batch.items()}
        return moved if type(batch) is dict else type(batch)(moved)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def batch_len(*values: Any) -> int:
    """The number of samples, as the first of ``values`` that tells it does: target, output, batch; else 1.

    A tensor has as many as its first dimension; so has a container of them where all agree. Otherwise a list is one of
    samples, as in detection.
    """
    return next((size for size in map(_size, values) if size), 1)


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


def length_of(loader: Any) -> int | None:
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
    if isinstance(batch, Mapping):
        key = next((key for key in TARGET_KEYS if key in batch), None)
        if key is None:
            raise UserError(
                f"a batch with the keys {', '.join(map(str, batch))} holds no target: "
                f"name it one of {', '.join(TARGET_KEYS)}, or override Trainer.forward"
            )
        return {name: value for name, value in batch.items() if name != key}, batch[key]
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    raise UserError(
        f"a batch of type {type(batch).__name__} holds no (input, target) pair: "
        "return pairs or dicts from the dataset, or override Trainer.forward"
    )


def call_model(model: torch.nn.Module, inputs: Any) -> Any:
    """Calls ``model`` with a tensor, a sequence as positional or a mapping as keyword arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple):
        return model(*inputs)
    return model(inputs)
