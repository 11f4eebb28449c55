"""Each repair does what its docstring says."""

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

from base import base_data_loader
from base.loop import metrics, progress, speedups
from base.parallel.strategy import NoParallel
from base.schema import SCHEMA
from base.tools.samples import Samples
from base.transfer import feature_cache
from config import ConfigParser
from tests.helpers import small_config
from utils import util
from utils.errors import UserError
from utils.migrate.plainloop import read_repair


def load_repair(name: str) -> types.ModuleType:
    """Runs a repair as a project gets it."""
    module = types.ModuleType(name)
    exec(compile(read_repair(name), f"{name}.py", "exec"), vars(module))
    return module


def test_template_order_draws_as_torch_does(monkeypatch):
    monkeypatch.setattr(base_data_loader, "BaseDataLoader", None)
    load_repair("template_order")
    data = TensorDataset(torch.arange(20))
    torch.manual_seed(1)
    loader: Any = base_data_loader.BaseDataLoader(data, 4, True, 0.25, 0)
    batches = [
        [batch[0].tolist() for batch in epoch]
        for epoch in (loader, loader, loader.split_validation())
    ]

    order = np.arange(20)
    np.random.RandomState(0).shuffle(order)
    torch.manual_seed(1)
    train = DataLoader(data, 4, sampler=SubsetRandomSampler(order[5:].tolist()))
    valid = DataLoader(data, 4, sampler=SubsetRandomSampler(order[:5].tolist()))
    expected = [[batch[0].tolist() for batch in epoch] for epoch in (train, train, valid)]
    assert batches == expected
    assert loader.n_samples == 15
    assert base_data_loader.BaseDataLoader(data, 4, False, 0.0, 0).split_validation() is None


def test_template_order_seeds_numpy_as_the_template_did(monkeypatch):
    monkeypatch.setattr(base_data_loader, "BaseDataLoader", None)
    load_repair("template_order")
    np.random.seed(7)
    base_data_loader.BaseDataLoader(TensorDataset(torch.arange(20)), 4, True, 5, 0)
    drawn = np.random.rand()
    np.random.seed(0)
    np.random.shuffle(np.arange(20))
    assert drawn == np.random.rand()


def test_template_order_refuses_several_processes(monkeypatch):
    monkeypatch.setattr(base_data_loader, "BaseDataLoader", None)
    repair = load_repair("template_order")
    monkeypatch.setattr(repair, "world_size", lambda: 2)
    with pytest.raises(UserError, match="2 processes cannot divide batches"):
        base_data_loader.BaseDataLoader(TensorDataset(torch.arange(20)), 4, True, 0.25, 0)


def test_loaders_of_template_order_are_no_loaders_of_plainloop(monkeypatch):
    monkeypatch.setattr(base_data_loader, "BaseDataLoader", None)
    load_repair("template_order")
    data = TensorDataset(torch.arange(5.0), torch.arange(5))
    loaders: list[Any] = [
        base_data_loader.BaseDataLoader(data, 2, shuffle, 0.0, 0) for shuffle in (False, True)
    ]
    assert [Samples(loader).order() for loader in loaders] == [[[0, 1], [2, 3], [4]], None]
    monkeypatch.setattr(feature_cache, "BaseDataLoader", base_data_loader.BaseDataLoader)
    with pytest.raises(UserError, match="needs loaders derived from"):
        feature_cache.make_prefix(torch.nn.Linear(1, 1), loaders, torch.device("cpu"))


def test_batch_means_weight_short_batches_like_full_ones_except_in_test_py(monkeypatch):
    monkeypatch.setattr(metrics.MetricSet, "count_samples", metrics.MetricSet.count_samples)
    load_repair("batch_means")
    training, testing = metrics.MetricSet([], writer=object()), metrics.MetricSet([])
    for metric_set in (training, testing):
        metric_set.add_batch(torch.tensor(1.0), torch.zeros(9), torch.zeros(9))
        metric_set.add_batch(torch.tensor(2.0), torch.zeros(1), torch.zeros(1))
    assert training.result() == {"loss": 1.5}
    assert testing.result() == {"loss": 1.1}


def test_ties_make_the_later_epoch_the_best(monkeypatch):
    monkeypatch.setattr(progress, "is_better", progress.is_better)
    load_repair("ties")
    for mode, values in (("min", (1.0, 1.0, 1.5)), ("max", (1.0, 1.0, 0.5))):
        monitor = progress.Monitor(mode, "loss")
        logs = [{"epoch": epoch, "loss": value} for epoch, value in enumerate(values, start=1)]
        assert [monitor.update(log).is_best for log in logs] == [True, True, False]
        assert monitor.list_best_epochs() == [2]


def test_plain_optimizer_turns_the_fused_kernel_off(monkeypatch, tmp_path):
    config = ConfigParser(small_config(tmp_path, keep_memory=False))
    config.check(SCHEMA)
    arguments = (config, torch.nn.Linear(2, 2), NoParallel(), logging.getLogger("train"))
    assert speedups.speed_up_steps(*arguments) == {"fused": True}
    monkeypatch.setattr(speedups, "choose_fused", speedups.choose_fused)
    load_repair("plain_optimizer")
    assert speedups.speed_up_steps(*arguments) == {}


def test_numpy_names_restores_removed_names_and_keeps_current_ones():
    before = set(vars(np))
    load_repair("numpy_names")
    old: Any = np
    try:
        assert old.float is float
        assert old.Inf == np.inf
        assert old.asfarray([1]).dtype == np.float64
        assert old.bool is np.bool_  # NumPy 2 has this name again
    finally:
        for name in set(vars(np)) - before:  # other tests rely on their absence
            delattr(np, name)


class Parser:
    """A project's ConfigParser, with the kinds of objects that projects keep in it."""

    def __init__(self) -> None:
        self._config = {"arch": {"type": "Net"}}
        self.path, self.logger = Path("saved"), logging.getLogger("train")

    def __getitem__(self, name: str) -> Any:
        return self._config[name]


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


@pytest.fixture
def _restored_torch(monkeypatch):
    """Undoes what the repair changes in torch."""
    monkeypatch.setattr(torch, "load", torch.load)
    before = torch.serialization.get_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.mark.usefixtures("_restored_torch")
def test_safe_load_reads_any_object_and_runs_no_code(tmp_path):
    safe: Any = load_repair("safe_load")
    path = tmp_path / "checkpoint.pth"
    state = {
        "state_dict": {"w": torch.ones(2)},
        "config": Parser(),
        "evil": Evil(),
        "best": np.float64(0.5),
    }
    torch.save(state | {"curve": np.arange(3.0)}, path)
    with pytest.raises(pickle.UnpicklingError):
        safe.torch_load(path)
    loaded = torch.load(path)
    assert loaded["config"]["arch"] == {"type": "Net"}
    assert loaded["best"] == 0.5
    assert loaded["curve"].tolist() == [0, 1, 2]
    assert type(loaded["evil"]).__name__ == "exec"
    line = r"test_migrate_repairs\.py:\d+: of `builtins.exec` .* weights_only=False there"
    with pytest.raises(AttributeError, match=line):
        loaded["evil"].run()
    with path.open("rb") as file:
        assert torch.load(file, map_location="cpu")["state_dict"]["w"].tolist() == [1, 1]


@pytest.mark.usefixtures("_restored_torch")
def test_safe_load_still_refuses_a_damaged_checkpoint(tmp_path):
    load_repair("safe_load")
    torch.save(torch.ones(9), tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:400])
    with pytest.raises(RuntimeError, match="zip"):
        torch.load(tmp_path / "a.pth")


def test_live_frame_takes_writes_to_columns_under_pandas_3():
    pytest.importorskip("pandas", reason="pandas is not among our dependencies")
    frame = load_repair("live_frame").LiveFrame(index=["loss", "acc"], columns=["total", "counts"])
    for column in frame.columns:
        frame[column].values[:] = 0
    frame.total["loss"] += 2.5
    frame["total"]["loss"] += 1
    assert dict(frame.total) == {"loss": 3.5, "acc": 0}
    assert importlib.import_module("copy").deepcopy(frame).total["loss"] == 3.5


def test_tensor_sums_adds_up_as_the_frame_of_the_template_did(monkeypatch):
    for name in ("add", "avg"):
        monkeypatch.setattr(util.MetricTracker, name, getattr(util.MetricTracker, name))
    load_repair("tensor_sums")
    values = [torch.tensor(value) for value in (2.1130655, 1.3423686, 0.7777777)]
    total: Any = 0
    tracker = util.MetricTracker("single", "count", "double")
    for value in values:
        total = total + value * 1
        tracker.update("single", value)
        tracker.update("count", value.long())
        tracker.update("double", value.item())
    restored = util.MetricTracker("single")
    restored.load_state_dict(tracker.state_dict())
    assert tracker.result()["single"] == float(total / 3) == restored.avg("single")
    assert tracker.result()["count"] == float(torch.tensor(3) / 3)
    assert tracker.result()["double"] == sum(value.item() for value in values) / 3


@pytest.mark.parametrize("writer", [object(), None])
def test_tensor_sums_knows_the_loops_of_the_template(monkeypatch, writer):
    monkeypatch.setattr(metrics.MetricSet, "count_samples", metrics.MetricSet.count_samples)
    for name in ("add", "avg"):
        monkeypatch.setattr(util.MetricTracker, name, getattr(util.MetricTracker, name))
    load_repair("batch_means")
    load_repair("tensor_sums")

    def error(output: Any, target: Any) -> Any:
        return (output - target).abs().mean()

    metric_set = metrics.MetricSet([error], writer=writer)
    train_sum, test_sum, losses = 0 * torch.ones(()), torch.zeros(1), []
    for size in (7, 7, 3):
        output, target = torch.randn(size, 1), torch.randn(size, 1)
        metric_set.add_batch(torch.tensor(1.37), output, target)
        train_sum = train_sum + error(output, target)
        test_sum[0] += error(output, target) * size
        losses += [torch.tensor(1.37).item()] * (size if writer is None else 1)
    expected = test_sum[0].item() / 17 if writer is None else float(train_sum / 3)
    assert metric_set.result()["error"] == expected
    assert metric_set.result()["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-15)
