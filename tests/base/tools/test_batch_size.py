"""``train.py --find-batch-size``: sizes are tried, and nothing is left behind."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.tools.batch_size import OPTION, find_largest, fits, suggest_batch_size
from base.tools.trial import as_step_trainer
from tests.base.tools.memory import limit_memory
from tests.base.tools.programs import Ended
from tests.helpers import differences, make_trainer, small_config
from utils.batch import repeat_samples
from utils.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def _quick_collection() -> Iterator[None]:
    """Each size that is tried collects garbage, which looks at everything that torch has made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    "fitting", [0, 1, 2, 3, 7, 8, 9, 127, 128, 129, 256, 300, 1000, 1437, 1438]
)
@pytest.mark.parametrize("start", [1, 8, 128])
def test_the_largest_size_is_found_in_few_tries(fitting: int, start: int) -> None:
    tried: list[int] = []

    def works(size: int) -> bool:
        tried.append(size)
        return size <= fitting

    assert find_largest(works, start, 1438) == fitting
    assert len(tried) == len(set(tried)) <= 22
    assert all(1 <= size <= 1438 for size in tried)


def perceptron(tmp_path: Path, **trainer: Any) -> Any:
    """A trainer of a model that takes flat inputs."""
    config = small_config(tmp_path, **trainer)
    config["arch"] = {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10}}
    return make_trainer(config)


@pytest.mark.parametrize(("in_backward", "accumulation"), [(False, 1), (True, 3)])
def test_a_model_is_tried_up_to_the_end_of_its_memory(
    tmp_path: Path, in_backward: bool, accumulation: int
) -> None:
    options = {"accumulation_steps": accumulation, "warmup_steps": 3, "precision": "bf16"}
    trainer = limit_memory(perceptron(tmp_path, **options), 300, in_backward)
    lines = suggest_batch_size(trainer).splitlines()
    assert lines[0].startswith("Batch size: 300 trains on cpu; 301 is too large.")
    assert lines[1].split() == ["to", "train", "train.py", "…", "--bs", "300"]
    assert "0.01 for 128 samples would be 0.0234" in lines[2]
    assert trainer.progress.step == 0
    # The gradients of the failed try would take memory.
    assert all(value.grad is None for value in trainer.model.parameters())


def test_no_more_samples_are_tried_than_the_data_has(tmp_path: Path) -> None:
    config = small_config(tmp_path) | {"parallel": {"type": "ddp"}}
    text = suggest_batch_size(make_trainer(config))
    assert "Batch size: 1,151 trains on cpu; these are all samples." in text
    assert "tried in one process; batch_size counts all processes" in text


def test_a_size_fits_only_if_the_state_of_the_optimizer_fits_too(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    train_step = trainer.train_step

    def train_step_with_state(batch: Any) -> Any:
        if trainer.optimizer.state and len(batch[0]) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_step(batch)

    trainer.train_step = train_step_with_state
    batch = next(iter(trainer.data_loader))
    step_trainer = as_step_trainer(trainer, OPTION)
    assert not fits(step_trainer, repeat_samples(batch, 11))
    assert fits(step_trainer, repeat_samples(batch, 10))


def test_no_memory_for_a_single_sample_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not one sample fits"):
        suggest_batch_size(limit_memory(perceptron(tmp_path), 0))


def test_an_error_of_another_kind_is_raised_as_it_is(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.criterion = nn.BCELoss()
    with pytest.raises((RuntimeError, ValueError), match="size"):
        suggest_batch_size(trainer)


def test_a_batch_without_a_number_of_samples_is_an_error(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.data_loader = [[torch.zeros(4, 1, 8, 8), torch.zeros(3)]]
    with pytest.raises(UserError, match="number of samples in a batch is unknown"):
        suggest_batch_size(trainer)


@pytest.mark.parametrize(
    "section", [{}, {"parallel": {"type": "ddp", "args": {"num_processes": 2}}}]
)
def test_on_the_cpu_it_is_refused_and_nothing_is_left(
    tmp_path: Path, tool: Callable[..., Ended], section: dict[str, Any]
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(small_config(tmp_path / "saved") | section))
    ended = tool("-c", tmp_path / "c.json", "--find-batch-size")
    message = "--find-batch-size: needs an accelerator, and this run is on the CPU\n"
    assert ended == (2, "", message)
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
    ids=["list", "mapping", "lists of samples"],
)
def test_a_batch_of_any_form_is_made_larger(batch: Any, expected: Any) -> None:
    made = repeat_samples(batch, 4)
    assert type(made) is type(batch)
    assert differences({"batch": made}, {"batch": expected}) == []
