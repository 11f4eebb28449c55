"""Blocks that compute their activations again in the backward pass: the same bits, less memory."""

from __future__ import annotations

import copy
import logging
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from base.loop.recomputation import checkpoint_activations, is_recomputing
from tests.base.parallel.spread_runs import FSDP_SECTION, table_config
from tests.base.transfer.models import thawing_config
from tests.helpers import differences, make_trainer, small_config
from tests.ranks import in_ranks
from utils.dtensor import is_dtensor
from utils.errors import UserError

LOGGER = logging.getLogger("test")
BLOCKS = {"activation_checkpointing": ["features", "classifier"]}


class Block(nn.Module):
    """Draws random numbers from every source, and has a norm of each kind of statistics."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, 4 * width), nn.BatchNorm1d(4 * width)
        self.last, self.dropout = nn.Linear(4 * width, width), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(self.norm(self.linear(x)).relu()) * scale
        return x + self.last(hidden) * random.random() * np.random.rand()


class Stack(nn.Module):
    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, scale=x.new_full((1,), 0.5))
        return x


def train_step(model: nn.Module, seed: int = 0) -> tuple[Any, Any]:
    """The state after a forward and a backward pass, and the gradients."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    model(torch.randn(16, 8)).square().mean().backward()
    drawn = [random.random(), np.random.rand(), torch.rand(1)]
    return model.state_dict(), [p.grad for p in model.parameters()] + drawn


@pytest.mark.parametrize("patterns", ["layers.*", ["layers.1", "layers.*.norm", "layers.2"]])
def test_a_step_has_the_same_bits_and_names(patterns: Any) -> None:
    plain, model = Stack(), Stack()
    model.load_state_dict(plain.state_dict())
    checkpoint_activations(model, patterns, LOGGER)
    for seed in range(2):
        expected, found = train_step(plain, seed), train_step(model, seed)
        assert list(expected[0]) == list(found[0])
        assert differences(found, expected) == []
    assert str(model) == str(plain)


def count_saved_bytes(model: Stack) -> int:
    """The bytes that the forward pass keeps for the backward pass: activations, and the inputs."""
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    def keep_input(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        keep(inputs[0])

    for layer in model.layers:
        layer.register_forward_pre_hook(keep_input)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(256, 8))
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(size for address, size in storages.items() if address not in weights)


def test_the_forward_pass_keeps_only_the_inputs_of_blocks() -> None:
    plain, model = Stack(8), Stack(8)
    checkpoint_activations(model, "layers.*", LOGGER)
    assert count_saved_bytes(model) < 0.15 * count_saved_bytes(plain)


def test_a_copy_and_a_pickled_block_are_plain() -> None:
    """An EMA is a copy, which is never trained."""
    model = Stack(1)
    checkpoint_activations(model, "layers.*", LOGGER)
    assert type(copy.deepcopy(model).layers[0]) is Block
    assert type(pickle.loads(pickle.dumps(model)).layers[0]) is Block
    assert isinstance(model.layers[0], Block)


def test_hooks_can_tell_the_second_run() -> None:
    model, seen = Stack(1), []
    checkpoint_activations(model, "layers.*", LOGGER)
    model.layers[0].linear.register_forward_hook(lambda *_: seen.append(is_recomputing()))
    train_step(model)
    assert seen == [False, True]
    assert not is_recomputing()


# -- blocks that cannot be checkpointed ----------------------------------------------------------


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return x * self.calls


old_norm, norm = nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm
CHANGING = [
    (Counting, "1.calls"),
    (lambda: nn.Sequential(old_norm(nn.Linear(8, 8))), "1.0.weight_u"),
    (lambda: nn.Sequential(norm(nn.Linear(8, 8))), "1.0.parametrizations.weight.0._u"),
    (lambda: nn.ReLU(inplace=True), "its input"),
]


@pytest.mark.parametrize(("make", "changed"), CHANGING, ids=[name for _, name in CHANGING])
def test_a_block_that_changes_what_it_reads_is_refused(make: Any, changed: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), make())
    checkpoint_activations(model, "1", LOGGER)
    message = f"trainer.activation_checkpointing: 1 changes {changed} in its forward pass"
    with pytest.raises(UserError, match=message):
        model(torch.randn(4, 8))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("layer.*", r"trainer.activation_checkpointing: 'layer.\*' matches no module .*'layers.0'"),
        (["layers.0", "layers"], r"activation_checkpointing.1: 'layers' matches no module that"),
    ],
)
def test_a_pattern_without_a_module_is_an_error(patterns: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checkpoint_activations(Stack(), patterns, LOGGER)


def test_a_block_with_another_forward_is_refused() -> None:
    model = Stack()
    model.layers[2].forward = model.layers[1].forward
    with pytest.raises(UserError, match=r"layers.2 replaces its method `forward`"):
        checkpoint_activations(model, "layers.*", LOGGER)


# -- in a training -------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16, accumulation, EMA": {"precision": "bf16", "accumulation_steps": 3, "ema_decay": 0.9},
    "fp16": {"precision": "fp16"},
    "graph and histograms": {"tensorboard": True, "histogram_period": 1},
    "statistics": {"tensorboard": True, "debug": {"statistics": True, "detect_nan": True}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_training_has_the_same_bits(tmp_path: Path, name: str) -> None:
    trainers = []
    for run_id, blocks in (("plain", {}), ("blocks", BLOCKS)):
        trainer = make_trainer(small_config(tmp_path, epochs=1, **OPTIONS[name], **blocks), run_id)
        trainer.train()
        trainers.append(trainer)
    states = [trainer.train_state.collect() for trainer in trainers]
    for state in states:
        state.pop("config")
    assert differences(*states) == []
    assert trainers[0].last_log == trainers[1].last_log


@pytest.mark.parametrize("transfer", ["cached", "thawed"])
def test_frozen_and_thawed_blocks_have_the_same_bits(tmp_path: Path, transfer: str) -> None:
    """With averages and clipping, which meet parameters without a gradient."""
    states = []
    for run_id, blocks in (("plain", {}), ("blocks", BLOCKS)):
        config = thawing_config(tmp_path)
        if transfer == "cached":
            config["transfer"] = {"freeze": "all_but_head", "cache_features": True}
        config["trainer"] |= {"swa": {"start": 2}, "grad_clip_norm": 1.0, **blocks}
        trainer = make_trainer(config, run_id)
        trainer.train()
        states.append(trainer.train_state.collect() | {"config": None})
    assert differences(*states) == []
    swa = states[0]["parts"]["update"]["swa"]
    is_frozen_value_kept = torch.equal(
        swa["module.features.0.weight"], states[0]["state_dict"]["features.0.weight"]
    )
    assert is_frozen_value_kept
    assert torch.equal(
        swa["module.features.1.running_mean"], states[0]["state_dict"]["features.1.running_mean"]
    )


def train_in_ranks(config: dict[str, Any], run_id: str) -> tuple[dict[str, Any], bool]:
    trainer = make_trainer(config, run_id)
    trainer.train()
    return trainer.last_log, any(map(is_dtensor, trainer.model.parameters()))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_have_the_same_numbers(tmp_path: Path, parallel: str) -> None:
    section = FSDP_SECTION if parallel == "fsdp" else {"parallel": {"type": "ddp"}}
    logs = []
    for run_id, options in (("plain", {}), ("blocks", {"activation_checkpointing": "layers.*"})):
        config = table_config(tmp_path, epochs=2, grad_clip_value=0.01, **options) | section
        results = in_ranks(2, train_in_ranks, config, run_id)
        assert [is_sharded for _, is_sharded in results] == [parallel == "fsdp"] * 2
        logs.append(results[0][0])
    assert logs[0] == logs[1]
