"""Finds and replaces the model's output layer, and compares it with the data."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from base.data.split import get_labels
from base.transfer.options import Head
from utils.errors import UserError, abbreviate, did_you_mean


def find_head(
    model: nn.Module, name: str | None = None, frozen: frozenset[str] = frozenset()
) -> str:
    """Returns the name of the output layer: ``name``, or the Linear or Conv2d constructed last.

    A layer whose parameters are all in ``frozen`` is found only if there is no other.

    Raises:
        UserError: ``name`` is not such a layer, or the model has none.
    """

    def list_layers(remove_duplicate: bool) -> list[str]:
        modules = model.named_modules(remove_duplicate=remove_duplicate)
        kinds = nn.Linear | nn.Conv2d
        return [layer for layer, module in modules if layer and isinstance(module, kinds)]

    layers = list_layers(remove_duplicate=True)
    if not layers:
        raise UserError(
            f"{type(model).__name__} has no Linear or Conv2d layer", key="transfer.head"
        )
    if name is None:
        parameters = {
            layer: dict(model.get_submodule(layer).named_parameters(layer)) for layer in layers
        }
        trained = [layer for layer in layers if not frozen.issuperset(parameters[layer])]
        return (trained or layers)[-1]
    if name not in list_layers(remove_duplicate=False):
        hint = did_you_mean(name, layers) or f"; the last ones are {', '.join(layers[-3:])}"
        message = f"'{name}' is not a Linear or Conv2d layer{hint}"
        raise UserError(message, key="transfer.head.name")
    return name


def replace_head(model: nn.Module, head: Head) -> str:
    """Replaces the output layer by a new one of the same kind. Returns its name."""
    name = find_head(model, head.name)
    old: Any = model.get_submodule(name)
    new: nn.Linear | nn.Conv2d
    if is_lazy(old.weight):  # only test.py has a lazy model here, and loads the weights next
        attribute = "out_features" if isinstance(old, nn.Linear) else "out_channels"
        setattr(old, attribute, head.num_classes)
        return name
    like = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, head.num_classes, **like)
    else:
        geometry = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        like |= {key: getattr(old, key) for key in geometry}
        new = nn.Conv2d(old.in_channels, head.num_classes, **like)
    # Small weights give nearly equal logits at first, as ImageNet networks are initialised.
    nn.init.normal_(new.weight, std=0.01)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    names = [key for key, module in model.named_modules(remove_duplicate=False) if module is old]
    for key in names:
        parent, _, attribute = key.rpartition(".")
        setattr(model.get_submodule(parent), attribute, new)
    return name


def check_num_classes(head: Head, dataset: Any) -> None:
    """Compares the new layer with the classes that the dataset declares, or else with its labels.

    Raises:
        UserError: the layer has another number of outputs than ``dataset.classes`` has names, or
            fewer than its labels need.
    """
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names:
        if len(names) != head.num_classes:
            found = f"{len(names)} classes ({abbreviate([str(name) for name in names], 5)})"
            raise UserError(
                f"{head.num_classes}, but the data has {found}", key="transfer.head.num_classes"
            )
        return
    num_classes = _count_classes(dataset)
    if num_classes > head.num_classes:
        raise UserError(
            f"{head.num_classes}, but the data has {num_classes} classes",
            key="transfer.head.num_classes",
        )


def _count_classes(dataset: Any) -> int:
    """Returns one more than the largest label; 0 if the labels are unknown or not classes."""
    with contextlib.suppress(UserError, TypeError, ValueError):
        labels = torch.as_tensor(get_labels(dataset))
        if labels.ndim == 1 and not labels.is_floating_point():
            return int(labels.max()) + 1
    return 0
