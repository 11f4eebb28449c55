"""Lists the layers of a model, and counts its parameters."""

from __future__ import annotations

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def get_layers(model: nn.Module) -> list[list[str]]:
    """Returns the names of a model's parameters layer by layer, in the order of construction.

    A layer is a convolution, a residual block, a transformer block, and so on. Containers
    (``Sequential``, ``ModuleList``, …) are not layers, and neither is a module with a submodule
    that holds most of the model, or with a ``ModuleList`` of several modules of one class, as the
    encoder of a transformer has it, however large the embedding beside it is. Parameters without a
    matrix (a norm, a bias, a class token) belong to the layer before them; those before the first
    layer belong to the first.
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
            has_blocks = any(map(repeats_blocks, child.children())) or any(
                repeats_blocks(inner) for part in child.children() for inner in part.children()
            )
            if isinstance(child, CONTAINERS) or has_blocks or max(sizes, default=0) > half:
                walk(child, f"{prefix}{name}.")
            else:
                named = {f"{prefix}{name}.{key}": value for key, value in child.named_parameters()}
                add(named, is_module=True)

    walk(model, "")
    return [pending, *layers] if pending else layers


def repeats_blocks(module: nn.Module) -> bool:
    """Whether a module is a ``ModuleList`` of several modules of one class, as of transformers."""
    is_long = isinstance(module, nn.ModuleList) and len(module) > 1
    return is_long and len({type(block) for block in module.children()}) == 1


def count_parameters(module: nn.Module) -> int:
    """Returns the number of values in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
