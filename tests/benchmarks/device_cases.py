"""The models and data of the device benchmarks: ``CASES``.

All data is random and in memory. Pictures are bytes; they are cropped, flipped and normalised on
the device by our batch transforms, in every arm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from base import BaseDataLoader
from base.data.batch_transforms import CropEach, FlipEach, NormalizeBatch
from base.schema import SCHEMA
from config.check.slots import resolve

Tensors = tuple[torch.Tensor, ...]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NUM_CLASSES, VOCABULARY, CONTEXT = 10, 4096, 256
MLP_ARGS = {"in_features": 64, "out_features": NUM_CLASSES, "hidden": [256, 256]}


class CausalLM(nn.Module):
    """A decoder of torch's layers that predicts the next token, 13 million parameters.

    Returns the logits in the shape that ``cross_entropy`` takes: (N, vocabulary, length).
    """

    mask: torch.Tensor

    def __init__(self, width: int = 384, depth: int = 6) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.zeros(CONTEXT, width))
        layer: dict[str, Any] = {"batch_first": True, "norm_first": True, "activation": "gelu"}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, width // 64, 4 * width, **layer) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        hidden = self.tokens(tokens) + self.positions[:length]
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(hidden)).transpose(1, 2)


class Case(NamedTuple):
    """A model and its data.

    Attributes:
        arch: of the config.
        make_tensors: returns the inputs and targets of a number of samples.
        batch_size: samples in a batch.
        steps: of an epoch.
        is_pictures: whether the inputs are pictures as bytes, which are augmented on the device.
    """

    arch: dict[str, Any]
    make_tensors: Callable[[int], Tensors]
    batch_size: int
    steps: int
    is_pictures: bool = False

    def make_model(self) -> nn.Module:
        model: nn.Module = resolve(self.arch["type"], SCHEMA.slots["arch"])(**self.arch["args"])
        return model

    def make_transform(self) -> Any:
        """Returns the augmentation on the device, or None."""
        if not self.is_pictures:
            return None
        scale = v2.ToDtype(torch.float32, scale=True)
        return v2.Compose([CropEach(4), FlipEach(), scale, NormalizeBatch(MEAN, STD)])


def make_pictures(count: int, size: int) -> Tensors:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 3, size, size), np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(random.integers(0, NUM_CLASSES, count))


def make_features(count: int) -> Tensors:
    torch.manual_seed(0)
    return torch.randn(count, MLP_ARGS["in_features"]), torch.randint(NUM_CLASSES, (count,))


def make_tokens(count: int, length: int) -> Tensors:
    torch.manual_seed(0)
    tokens = torch.randint(VOCABULARY, (count, length + 1))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def get_case(name: str, is_smoke: bool = False) -> Case:
    """Returns a case; for a smoke test, one that takes a second on a CPU."""
    case = CASES[name]
    if not is_smoke:
        return case
    if name == "transformer":
        arch = {"type": "benchmark.CausalLM", "args": {"width": 64, "depth": 1}}
        case = case._replace(arch=arch, make_tensors=lambda count: make_tokens(count, 8))
    if case.is_pictures:
        case = case._replace(make_tensors=lambda count: make_pictures(count, 16))
    return case._replace(batch_size=4, steps=3)


RESNET18 = {"type": "torchvision.models.resnet18", "args": {"num_classes": NUM_CLASSES}}
CASES = {  # the most important first
    "resnet18_224": Case(RESNET18, lambda count: make_pictures(count, 224), 256, 20, True),
    "resnet18_32": Case(RESNET18, lambda count: make_pictures(count, 32), 512, 100, True),
    "transformer": Case(
        {"type": "benchmark.CausalLM", "args": {}}, lambda n: make_tokens(n, CONTEXT), 64, 50
    ),
    "mlp": Case({"type": "mlp.MLP", "args": MLP_ARGS}, make_features, 128, 300),
}


class CaseLoader(BaseDataLoader):
    """The data of a case, as a project of ours loads tensors that are in memory."""

    def __init__(self, case: str, is_smoke: bool) -> None:
        chosen = get_case(case, is_smoke)
        self.tensors = chosen.make_tensors(chosen.batch_size * chosen.steps)
        transform = chosen.make_transform()
        super().__init__(TensorDataset(*self.tensors), chosen.batch_size, batch_transform=transform)


def add_to_project() -> None:
    """Adds the classes of this file to the project, so that a config can name them."""
    for name, member in (("model.benchmark", CausalLM), ("data_loader.benchmark", CaseLoader)):
        sys.modules[name] = module = ModuleType(name)
        member.__module__ = name
        setattr(module, member.__name__, member)
