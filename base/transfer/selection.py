"""Selects parameters by patterns over names, and lists the layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from utils.errors import UserError, did_you_mean

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def select_parameters(model: nn.Module, patterns: list[str] | str, key: str) -> set[str]:
    """Returns the names of the parameters that match ``patterns``.

    A tied parameter matches by any of its names, and is returned under its first one.

    Args:
        model: its parameters' names are matched.
        patterns: globs over parameter names (``features.*``), or the name of a module for all
            parameters inside it. A leading ``!`` excludes. A later pattern overrides earlier ones.
        key: of the config, for the error.

    Raises:
        UserError: a pattern matches nothing.
    """
    first_names = get_first_names(model)
    names = list(first_names)
    selected: set[str] = set()
    for index, pattern in enumerate([patterns] if isinstance(patterns, str) else patterns):
        glob = pattern.removeprefix("!")
        matches = {
            first
            for name, first in first_names.items()
            if fnmatchcase(name, glob) or name.startswith(f"{glob}.")
        }
        if not matches:
            modules = [
                name
                for name, module in model.named_modules()
                if name and next(module.parameters(), None) is not None
            ]
            hint = did_you_mean(glob, [*modules, *names]) or f"; there are {abbreviate(names, 4)}"
            raise UserError(
                f"'{pattern}' matches no parameter{hint}",
                key=key if isinstance(patterns, str) else f"{key}.{index}",
            )
        if pattern.startswith("!"):
            selected -= matches
        else:
            selected |= matches
    return selected


def get_first_names(model: nn.Module) -> dict[str, str]:
    """Returns every name of every parameter, each with the first name of the same parameter.

    A tied parameter has several names, such as an embedding that is the output layer too.
    """
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def get_layers(model: nn.Module) -> list[list[str]]:
    """Returns the names of a model's parameters layer by layer, in the order of construction.

    A layer is a convolution, a residual block, a transformer block, and so on. Containers
    (``Sequential``, ``ModuleList``, …) are not layers, and neither is a module with a submodule
    that holds most of the model. Parameters without a matrix (a norm, a bias, a class token) belong
    to the layer before them; those before the first layer belong to the first.
    """
    half = count_parameters(model) / 2
    layers: list[list[str]] = []
    pending: list[str] = []  # parameters that come before the first layer

    def add(named: dict[str, nn.Parameter], is_module: bool) -> None:
        if is_module and any(parameter.ndim > 1 for parameter in named.values()):
            layers.append([*pending, *named])
            pending.clear()
        else:
            (layers[-1] if layers else pending).extend(named)

    def walk(module: nn.Module, prefix: str) -> None:
        direct = module.named_parameters(recurse=False)
        add({prefix + name: parameter for name, parameter in direct}, is_module=False)
        for name, child in module.named_children():
            sizes = [
                count_parameters(inner)
                for inner in child.children()
                if next(inner.children(), None) is not None
            ]
            if isinstance(child, CONTAINERS) or max(sizes, default=0) > half:
                walk(child, f"{prefix}{name}.")
            else:
                named = {f"{prefix}{name}.{key}": value for key, value in child.named_parameters()}
                add(named, is_module=True)

    walk(model, "")
    return [pending, *layers] if pending else layers


def count_parameters(module: nn.Module) -> int:
    """Returns the number of values in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def abbreviate(names: Sequence[str], limit: int = 3) -> str:
    """Joins the first ``limit`` names for a message, with an ellipsis for the rest."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
