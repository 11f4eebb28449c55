"""What makes a step faster is switched on where it changes no promise, and is logged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.speedups import keep_freed_memory, speed_up_steps
from base.parallel.strategy import NoParallel
from base.schema import SCHEMA
from config import ConfigParser
from tests.helpers import make_trainer, small_config

LOGGER = logging.getLogger("speedups")


def speed_up(tmp_path: Path, model: nn.Module, **options: Any) -> dict[str, Any]:
    """The arguments that the optimizer gets."""
    optimizer = options.pop("optimizer", {"type": "Adam"})
    config = ConfigParser(small_config(tmp_path, **options) | {"optimizer": optimizer})
    config.check(SCHEMA)
    return speed_up_steps(config, model, NoParallel(), LOGGER)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"type": "Adam"}, {"fused": True}),
        ({"type": "SGD", "args": {"lr": 0.1}}, {"fused": True}),
        ({"type": "Adam", "args": {"foreach": True}}, {}),  # the config's choice
        ({"type": "Adam", "args": {"fused": False}}, {}),
        ({"type": "RMSprop"}, {}),  # has no such kernel
    ],
)
def test_an_optimizer_is_fused_if_it_can_be_and_the_config_chooses_no_kernel(
    tmp_path: Path, optimizer: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert speed_up(tmp_path, nn.Linear(2, 2), optimizer=optimizer) == expected


@pytest.mark.parametrize(
    "model",
    [
        nn.Embedding(3, 2, sparse=True),
        nn.Linear(2, 2, device="meta"),
        nn.Linear(2, 2, dtype=torch.complex64),
    ],
    ids=["sparse gradients", "another device", "complex numbers"],
)
def test_an_optimizer_is_not_fused_for_parameters_that_its_kernel_does_not_take(
    tmp_path: Path, model: nn.Module
) -> None:
    assert speed_up(tmp_path, model) == {}


def test_memory_is_kept_for_the_batches_of_an_accelerator_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        speed_up(tmp_path, nn.Linear(2, 2, device="meta"))
    assert ("freed memory kept" in caplog.text) == keep_freed_memory()


class Compilable(nn.Linear):
    """Notes that it is compiled, and saves the time."""

    is_compiled = False

    def compile(self, *_: Any, **__: Any) -> None:
        self.is_compiled = True


def test_the_log_names_what_is_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Compilable(2, 2)
    with caplog.at_level(logging.INFO):
        speed_up(tmp_path, model, channels_last=True, compile=True)
        speed_up(tmp_path, nn.Linear(2, 2), keep_memory=False, optimizer={"type": "RMSprop"})
    kept = ", freed memory kept" if keep_freed_memory() else ""
    assert [record.getMessage() for record in caplog.records] == [
        f"Faster steps: a fused optimizer, channels_last, compiled{kept}."
    ]
    assert model.is_compiled


def test_channels_last_lays_out_all_convolutions_also_of_one_input_channel(tmp_path: Path) -> None:
    """The layout of the first one decides that of all activations."""
    config = small_config(tmp_path, channels_last=True)
    config["arch"] = {"type": "lenet.LeNet"}
    weights = [p for p in make_trainer(config).model.parameters() if p.ndim == 4]
    assert weights[0].shape[1] == 1
    for weight in weights:
        assert weight.stride()[1] == 1, weight.stride()  # the channels are neighbours


def test_compile_keeps_the_names_of_the_plain_model(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    names = list(trainer.model.state_dict())
    trainer.model.compile(backend="eager")
    trainer._train_epoch(1)
    assert list(trainer.model.state_dict()) == names
