"""pytorch-template's helpers."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import utils.util
from utils import MetricTracker, ensure_dir, inf_loop, prepare_device, read_json, write_json
from utils.errors import UserError


class Writer:
    def __init__(self) -> None:
        self.written: list[tuple[str, float]] = []

    def add_scalar(self, key: str, value: Any) -> None:
        self.written.append((key, float(value)))


# -- MetricTracker -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        3,
        3.0,
        np.float32(3),
        np.int64(3),
        torch.tensor(3),
        torch.tensor(3.0, requires_grad=True),
        np.array(3.0),
    ],
    ids=repr,
)
def test_a_value_may_be_a_number_of_any_kind(value: Any) -> None:
    tracker = MetricTracker("loss")
    tracker.update("loss", value)
    assert (tracker.avg("loss"), type(tracker.avg("loss"))) == (3.0, float)
    assert tracker.result() == {"loss": 3.0}


@pytest.mark.parametrize("value", [np.array([3.0]), torch.tensor([3.0])], ids=repr)
def test_an_array_of_one_number_is_that_number(value: Any) -> None:
    tracker = MetricTracker()
    tracker.update("loss", value)
    assert tracker.result() == {"loss": 3.0}


def test_means_are_weighted_by_samples() -> None:
    tracker = MetricTracker("loss")
    tracker.update("loss", 1.0, n=3)
    tracker.update("loss", 5.0, n=1)
    assert tracker.avg("loss") == 2.0
    assert tracker.n_samples == 4


def test_without_a_value_a_mean_is_zero() -> None:
    assert MetricTracker("loss", "accuracy").result() == {"loss": 0.0, "accuracy": 0.0}


def test_reset_forgets_the_values_and_keeps_the_names() -> None:
    tracker = MetricTracker("loss")
    tracker.update("other", 2.0)
    tracker.update("loss", 1.0)
    tracker.reset()
    assert tracker.result() == {"loss": 0.0, "other": 0.0}
    tracker.update("loss", 4.0)
    assert tracker.avg("loss") == 4.0


def test_update_writes_and_add_does_not() -> None:
    writer = Writer()
    tracker = MetricTracker("loss", writer=writer)
    tracker.update("loss", torch.tensor(1.0), n=2)
    tracker.add("loss", 4.0, n=1)
    assert writer.written == [("loss", 1.0)]
    assert tracker.avg("loss") == 2.0


def test_a_result_is_a_copy() -> None:
    tracker = MetricTracker("loss")
    tracker.result()["loss"] = 9.0
    assert tracker.result() == {"loss": 0.0}


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        MetricTracker("loss").avg("nothing")


# -- inf_loop ----------------------------------------------------------------------------


def test_a_loader_is_repeated_without_end() -> None:
    loop = inf_loop([1, 2, 3])
    assert list(itertools.islice(loop, 7)) == [1, 2, 3, 1, 2, 3, 1]
    assert loop.loader == [1, 2, 3]


def test_every_round_is_a_new_pass_over_the_loader() -> None:
    class Passes:
        number = 0

        def __iter__(self) -> Iterator[tuple[int, int]]:
            self.number += 1
            return iter([(self.number, 0), (self.number, 1)])

    assert list(itertools.islice(inf_loop(Passes()), 4)) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_loader_without_batches_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(UserError, match="the data loader has no batches to repeat"):
        next(inf_loop([]))


# -- the rest ----------------------------------------------------------------------------


def test_no_gpu_means_the_cpu() -> None:
    assert prepare_device(0) == (torch.device("cpu"), [])


def import_again(module: ModuleType) -> Any:
    """A second copy of a module, which has logged nothing yet."""
    spec = importlib.util.spec_from_file_location("again", str(module.__file__))
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")
@pytest.mark.parametrize("n", [1, 4])
def test_without_an_accelerator_the_cpu_is_used_and_the_log_says_so_once(
    n: int, caplog: pytest.LogCaptureFixture
) -> None:
    util = import_again(utils.util)
    caplog.set_level("INFO")
    for _ in range(2):
        assert util.prepare_device(n) == (torch.device("cpu"), [])
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("rank", "world_size", "used", "index", "indices"),
    [(0, 1, 3, 0, [0, 1, 2]), (0, 1, 9, 0, [0, 1, 2, 3]), (2, 4, 4, 2, [2])],
)
def test_each_rank_has_another_device_and_a_single_process_has_them_all(
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    world_size: int,
    used: int,
    index: int,
    indices: list[int],
) -> None:
    have_devices(monkeypatch, 4, rank, world_size)
    assert prepare_device(used) == (torch.device("cuda", index), indices)


def test_more_processes_than_accelerators_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    have_devices(monkeypatch, 1, rank=1, world_size=2)
    with pytest.raises(UserError, match="n_gpu: 2 processes want an accelerator each") as caught:
        prepare_device(2)
    assert caught.value.problems[0].key == "n_gpu"


def have_devices(
    monkeypatch: pytest.MonkeyPatch, count: int, rank: int = 0, world_size: int = 1
) -> None:
    """Makes this process one of several, on a machine with so many accelerators."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(utils.util, "local_rank", lambda: rank)
    monkeypatch.setattr(utils.util, "world_size", lambda: world_size)


def test_json_keeps_its_order(tmp_path: Path) -> None:
    content = {"b": 1, "a": {"é": [1.5, None]}}
    write_json(content, str(tmp_path / "a.json"))
    assert list(read_json(tmp_path / "a.json")) == ["b", "a"]
    assert read_json(tmp_path / "a.json") == json.loads(json.dumps(content))


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        ensure_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_pytorch_templates_names_are_in_the_package() -> None:
    names = {"MetricTracker", "ensure_dir", "inf_loop", "prepare_device", "read_json", "write_json"}
    assert names <= set(vars(utils))
