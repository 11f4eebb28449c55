"""``train.py --find-batch-size``: by trying, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.schema import SCHEMA
from base.tools.batch_size import FindBatchSize, largest, trains
from config import ConfigParser
from tests.base.test_splitting import crowd
from tests.helpers import differences, make_trainer, run, small_config
from utils.batch import repeat_samples
from utils.errors import UserError


@pytest.mark.parametrize("room", [0, 1, 2, 3, 7, 8, 9, 127, 128, 129, 256, 300, 1000, 1437, 1438])
@pytest.mark.parametrize("start", [1, 8, 128])
def test_the_largest_size_is_found_in_few_tries(room: int, start: int) -> None:
    tried: list[int] = []

    def trying(size: int) -> bool:
        tried.append(size)
        return size <= room

    assert largest(trying, start, 1438) == room
    assert len(tried) == len(set(tried)) <= 22
    assert all(1 <= size <= 1438 for size in tried)


def tool(config: dict[str, Any]) -> Any:
    """One that was not entered, as there is no accelerator."""
    made = FindBatchSize.__new__(FindBatchSize)
    made.config = ConfigParser(config)
    made.config.schema = SCHEMA
    return made


@pytest.mark.parametrize(("backward", "accumulation"), [(False, 1), (True, 3)])
def test_a_real_model_is_tried_up_to_where_its_memory_ends(
    tmp_path: Path, backward: bool, accumulation: int
) -> None:
    config = small_config(
        tmp_path, accumulation_steps=accumulation, warmup_steps=3, precision="bf16"
    )
    config["arch"] = {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10}}
    trainer = crowd(make_trainer(config), 300, backward)
    told = tool(config).bill(trainer).splitlines()
    assert told[0].startswith("Batch size: 300 trains on cpu; 301 is too large.")
    assert told[1].split() == ["to", "train", "train.py", "…", "--bs", "300"]
    assert "0.01 for 128 samples would be 0.0234" in told[2]
    assert trainer.update.steps == 0  # of the run itself
    assert all(value.grad is None for value in trainer.model.parameters())  # of the try that failed


def test_no_more_samples_are_tried_than_there_are_and_several_processes_are_reminded(
    tmp_path: Path,
) -> None:
    config = small_config(tmp_path) | {"parallel": {"type": "ddp"}}
    told = tool(config).bill(make_trainer(config))
    assert "Batch size: 1,151 trains on cpu; all samples that there are." in told
    assert "tried in one process; batch_size is that of all together" in told


def test_the_optimizers_state_is_in_memory_when_a_size_is_said_to_train(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    plain = trainer.train_step

    def train_step(batch: Any) -> Any:
        if trainer.optimizer.state and len(batch[0]) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(batch)

    trainer.train_step = train_step
    batch = next(iter(trainer.data_loader))
    assert not trains(trainer, repeat_samples(batch, 11))
    assert trains(trainer, repeat_samples(batch, 10))


def test_not_even_one_sample_is_a_line(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    config["arch"] = {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10}}
    with pytest.raises(UserError, match="not one sample fits"):
        tool(config).bill(crowd(make_trainer(config), 0))


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.criterion = nn.BCELoss()
    with pytest.raises((RuntimeError, ValueError), match="size"):
        tool(small_config(tmp_path)).bill(trainer)


def test_a_batch_that_does_not_tell_its_samples_is_a_line(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.data_loader = [[torch.zeros(4, 1, 8, 8), torch.zeros(3)]]
    with pytest.raises(UserError, match="does not tell its samples"):
        tool(small_config(tmp_path)).bill(trainer)


@pytest.mark.parametrize(
    "section", [{}, {"parallel": {"type": "ddp", "args": {"num_processes": 2}}}]
)
def test_on_the_cpu_it_is_a_line_and_nothing_is_left(
    tmp_path: Path, monkeypatch: Any, section: dict[str, Any]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "c.json").write_text(json.dumps(small_config(tmp_path / "saved") | section))
    done = run("train.py", "-c", tmp_path / "c.json", "--find-batch-size")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--find-batch-size: is for accelerators; this run is on the CPU\n"
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "saved").exists()


x, y = torch.arange(6.0).view(3, 2), torch.arange(3)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ([x, y], [x[[0, 1, 2, 0]], y[[0, 1, 2, 0]]]),
        (
            {"a": x, "n": 3, "names": list("abc")},
            {"a": x[[0, 1, 2, 0]], "n": 3, "names": list("abca")},
        ),
        ((list(x), [{"box": 1}] * 3), ([x[0], x[1], x[2], x[0]], [{"box": 1}] * 4)),
    ],
)
def test_a_batch_is_made_larger_whatever_its_shape(batch: Any, expected: Any) -> None:
    made = repeat_samples(batch, 4)
    assert type(made) is type(batch)
    assert differences({"batch": made}, {"batch": expected}) == []
