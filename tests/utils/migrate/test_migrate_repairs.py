"""The repairs do what they say, each by itself."""

from __future__ import annotations

import importlib
import logging
import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import base.base_data_loader
import base.checkpoint.file
import base.loop.monitor
import base.loop.speedups
from base.loop.metrics import MetricSet
from config import ConfigParser
from utils.migrate.needed_repairs import REPAIRS


def load(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile((REPAIRS / f"{name}.py").read_text(), f"{name}.py", "exec"), vars(module))
    return module


def test_template_order_is_torchs_own(monkeypatch):
    monkeypatch.setattr(base.base_data_loader, "BaseDataLoader", None)
    load("template_order")
    data = TensorDataset(torch.arange(20))
    torch.manual_seed(1)
    loader: Any = base.base_data_loader.BaseDataLoader(data, 4, True, 0.25, 0)
    orders = [
        [batch[0].tolist() for batch in part]
        for part in (loader, loader, loader.split_validation())
    ]

    order = np.arange(20)
    np.random.RandomState(0).shuffle(order)
    torch.manual_seed(1)
    train = DataLoader(data, 4, sampler=SubsetRandomSampler(order[5:].tolist()))
    valid = DataLoader(data, 4, sampler=SubsetRandomSampler(order[:5].tolist()))
    assert orders == [[batch[0].tolist() for batch in part] for part in (train, train, valid)]
    assert loader.n_samples == 15
    assert base.base_data_loader.BaseDataLoader(data, 4, False, 0.0, 0).split_validation() is None


def test_template_order_seeds_numpy_as_the_template_did(monkeypatch):
    monkeypatch.setattr(base.base_data_loader, "BaseDataLoader", None)
    load("template_order")
    np.random.seed(7)
    base.base_data_loader.BaseDataLoader(TensorDataset(torch.arange(20)), 4, True, 5, 0)
    drawn = np.random.rand()
    np.random.seed(0)
    np.random.shuffle(np.arange(20))
    assert drawn == np.random.rand()


def test_batch_means_count_a_short_batch_as_a_whole_one_but_not_in_a_test(monkeypatch):
    monkeypatch.setattr(MetricSet, "measure", MetricSet.measure)
    load("batch_means")
    training, testing = MetricSet([], writer=object()), MetricSet([])
    for metrics in (training, testing):
        metrics.measure(torch.tensor(1.0), None, None, 9)
        metrics.measure(torch.tensor(2.0), None, None, 1)
    assert training.result() == {"loss": 1.5}
    assert testing.result() == {"loss": 1.1}


def test_ties_make_the_later_epoch_the_best(monkeypatch):
    monkeypatch.setattr(base.loop.monitor, "is_better", base.loop.monitor.is_better)
    load("ties")
    better: Any = base.loop.monitor.is_better
    assert [better("min", value, 1.0) for value in (0.5, 1.0, 1.5)] == [True, True, False]
    assert [better("max", value, 1.0) for value in (0.5, 1.0, 1.5)] == [False, True, True]


def test_the_optimizer_gets_no_fused_kernel(monkeypatch):
    model = torch.nn.Linear(2, 2)
    config: Any = ConfigParser(
        {"optimizer": {"type": "Adam", "args": {}}, "name": "a", "trainer": {}}
    )
    assert base.loop.speedups.fused(config, model) == {"fused": True}
    monkeypatch.setattr(base.loop.speedups, "fused", base.loop.speedups.fused)
    load("plain_optimizer")
    assert base.loop.speedups.fused(config, model) == {}


def test_numpy_gets_its_old_names_back_and_keeps_its_new_ones():
    before = set(vars(np))
    load("numpy_names")
    old: Any = np
    try:
        assert old.float is float
        assert old.Inf == np.inf
        assert old.asfarray([1]).dtype == np.float64
        assert old.bool is np.bool_  # a name that NumPy has
    finally:
        for name in set(vars(np)) - before:  # other tests look for what NumPy has not
            delattr(np, name)


class Parser:
    """A project's own ConfigParser, with what such have in them."""

    def __init__(self) -> None:
        self._config = {"arch": {"type": "Net"}}
        self.path, self.logger = Path("saved"), logging.getLogger("train")

    def __getitem__(self, name: str) -> Any:
        return self._config[name]


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


@pytest.fixture
def _own_load(monkeypatch):
    """Gives back what the repair changes in torch."""
    monkeypatch.setattr(torch, "load", torch.load)
    before = torch.serialization.get_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.mark.usefixtures("_own_load")
def test_checkpoints_load_whatever_they_hold_and_run_nothing_of_it(tmp_path):
    safe: Any = load("safe_load")
    path = tmp_path / "checkpoint.pth"
    state = {
        "state_dict": {"w": torch.ones(2)},
        "config": Parser(),
        "evil": Evil(),
        "best": np.float64(0.5),
    }
    torch.save(state | {"curve": np.arange(3.0)}, path)
    with pytest.raises(pickle.UnpicklingError):
        safe.load_of_torch(path)
    loaded = torch.load(path)
    assert loaded["config"]["arch"] == {"type": "Net"}
    assert loaded["best"] == 0.5
    assert loaded["curve"].tolist() == [0, 1, 2]
    assert type(loaded["evil"]).__name__ == "exec"
    with path.open("rb") as file:
        assert torch.load(file, map_location="cpu")["state_dict"]["w"].tolist() == [1, 1]


@pytest.mark.usefixtures("_own_load")
def test_a_damaged_checkpoint_is_still_an_error(tmp_path):
    load("safe_load")
    torch.save(torch.ones(9), tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:400])
    with pytest.raises(RuntimeError, match="zip"):
        torch.load(tmp_path / "a.pth")


def test_a_frame_of_pandas_3_can_be_written_by_columns():
    pytest.importorskip("pandas", reason="pandas is not among our dependencies")
    frame = load("live_frame").LiveFrame(index=["loss", "acc"], columns=["total", "counts"])
    for column in frame.columns:
        frame[column].values[:] = 0
    frame.total["loss"] += 2.5
    frame["total"]["loss"] += 1
    assert dict(frame.total) == {"loss": 3.5, "acc": 0}
    assert importlib.import_module("copy").deepcopy(frame).total["loss"] == 3.5
