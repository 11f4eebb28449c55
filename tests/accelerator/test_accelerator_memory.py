"""The memory of the device: a batch that does not fit, the largest one that does, and no growth."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from base.tools.batch_size import suggest_batch_size
from tests.accelerator.device import (
    DEVICE,
    N_GPU,
    ON_CPU,
    ON_CUDA,
    ON_SIMULATED,
    free_memory,
    mlp_config,
    needs,
)
from tests.accelerator.small_card import limited_memory
from tests.base.parallel.spread_runs import table_config
from tests.base.tools.programs import call_program
from tests.helpers import differences, load, make_trainer, run

SETTINGS = (
    "the batch_size of the data loader",
    "trainer.accumulation_steps",
    "trainer.precision: bf16",
)
WIDTH = 150_000  # of the hidden layer, whose output has 0.6 MB for a sample
LIMIT_MIB = 384
ALL_SAMPLES = 364
CAN_LIMIT = ON_CUDA or ON_SIMULATED
EPOCHS, STEPS_OF_EPOCH = 10, 500


def wide_config(folder: Path, **trainer: Any) -> dict[str, Any]:
    """A model with few weights and large activations."""
    config = table_config(folder, **trainer) | {"n_gpu": N_GPU}
    config["arch"]["args"]["hidden"] = [WIDTH]
    config["data_loader"]["args"]["batch_size"] = 32
    return config | {"optimizer": {"type": "SGD", "args": {"lr": 0.001}}}


@needs(ON_CPU or CAN_LIMIT, "only CUDA can limit the memory of a process")
def test_a_batch_that_does_not_fit_ends_in_one_line(tmp_path: Path) -> None:
    """The checkpoint before it is intact, and a smaller batch goes on from it."""
    config = wide_config(tmp_path, epochs=1, keep_memory=False)
    trainer = make_trainer(config, "run")
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    before = load(path)
    del trainer
    free_memory()
    (tmp_path / "c.json").write_text(json.dumps(before["config"]))
    large = ["-r", path, f"data_loader.args.batch_size={ALL_SAMPLES}", "trainer.epochs=2"]
    ended = run("-m", "tests.accelerator.small_card", LIMIT_MIB, "train.py", *large)
    assert ended.returncode == 2, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if "out of memory" in line]
    assert "Traceback" not in ended.stderr
    for setting in SETTINGS:
        assert setting in line
    assert differences(load(path), before) == []
    config["trainer"]["epochs"] = 2
    make_trainer(config, resume=path).train()
    assert load(path.with_name("checkpoint-epoch2.pt"))["epoch"] == 2


@needs(CAN_LIMIT, "only CUDA can limit the memory of a process")
def test_find_batch_size_finds_one_that_trains(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``--find-batch-size`` finds it, and leaves the memory as it was."""
    (tmp_path / "c.json").write_text(json.dumps(wide_config(tmp_path, epochs=1)))
    words = ["-c", tmp_path / "c.json"]
    layer = torch.nn.Linear(8, 8, device=DEVICE)
    layer(torch.ones(8, 8, device=DEVICE)).sum().backward()  # libraries keep some memory
    with limited_memory(LIMIT_MIB):
        before = torch.accelerator.memory_allocated(DEVICE)
        capfd.readouterr()
        assert call_program("train.py", *words, "--find-batch-size") == 0
        found = re.search(r"Batch size: (\d+) trains on (\w+)", capfd.readouterr().out)
        assert found is not None
        size = int(found[1])
        assert found[2] == DEVICE.type
        assert 8 < size < ALL_SAMPLES
        free_memory()
        assert torch.accelerator.memory_allocated(DEVICE) <= before + (1 << 20)
        assert call_program("train.py", *words, "--bs", size, "--run-id", "found") == 0


def test_find_batch_size_tries_all_samples(tmp_path: Path) -> None:
    text = suggest_batch_size(make_trainer(mlp_config(tmp_path)))
    assert text.startswith(f"Batch size: 1,151 trains on {DEVICE}; these are all samples.")


def measure_memory() -> int:
    """The bytes that are allocated on the device. For the CPU, the number of tensors."""
    if not ON_CPU:
        return int(torch.accelerator.memory_allocated(DEVICE))
    kinds = (torch.Tensor, torch.nn.Parameter)
    return sum(type(item) in kinds for item in gc.get_objects())


def test_the_memory_is_flat_over_5000_steps(tmp_path: Path) -> None:
    config = mlp_config(tmp_path, epochs=EPOCHS, len_epoch=STEPS_OF_EPOCH, save_period=EPOCHS)
    config["data_loader"]["args"]["batch_size"] = 16
    config["optimizer"] = {"type": "AdamW", "args": {"lr": 0.001}}
    trainer = make_trainer(config)
    used: list[int] = []
    end_epoch = trainer.end_epoch

    def note(epoch: int) -> dict[str, float]:
        log: dict[str, float] = end_epoch(epoch)
        gc.collect()
        used.append(measure_memory())
        return log

    trainer.end_epoch = note
    trainer.train()
    assert trainer.progress.step == EPOCHS * STEPS_OF_EPOCH
    assert used[-1] - used[1] <= (16 if ON_CPU else 64 << 10), used
