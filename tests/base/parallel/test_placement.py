"""Models on several devices, as far as one CPU can show.

The second device is torch's ``meta``, which has no data, or a pretence.
"""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import torch
from torch import nn

from base.loop.evaluate import forward
from base.parallel import ddp, strategy
from base.parallel.data_parallel import DataParallel
from base.parallel.ddp import DDP
from base.parallel.fsdp import FSDP
from base.parallel.strategy import is_spread, move_to_device, output_device
from model.two_device import TwoDeviceNet
from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import ROOT, load, make_trainer, small_config
from utils import distributed
from utils.errors import UserError

CPU, META, SECOND = torch.device("cpu"), torch.device("meta"), torch.device("cuda:1")


def net_config(tmp_path):
    return small_config(tmp_path, monitor="min val_loss") | {
        "arch": {"type": "two_device.TwoDeviceNet", "args": {"hidden": 16}},
        "loss": {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}},
    }


@pytest.fixture
def _pretended_spread(monkeypatch):
    """A TwoDeviceNet counts as spread over two devices, and cannot be moved."""
    original = TwoDeviceNet.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.to = None

    monkeypatch.setattr(TwoDeviceNet, "__init__", init)
    monkeypatch.setattr(strategy, "is_spread", lambda model: isinstance(model, TwoDeviceNet))


def test_a_model_on_one_device_is_moved():
    model, device = move_to_device(nn.Linear(2, 2), META)
    assert {parameter.device for parameter in model.parameters()} == {META}
    assert device == output_device(model, device) == META
    assert move_to_device(nn.ReLU(), CPU)[1] == CPU  # without parameters
    assert not is_spread(TwoDeviceNet())  # without accelerators, the CPU takes both halves


def test_a_model_on_two_devices_stays_there():
    model = TwoDeviceNet(devices=["cpu", "meta"])
    assert move_to_device(model, META) == (model, CPU)
    assert is_spread(model)
    assert output_device(model, CPU) == META
    assert {parameter.device for parameter in model.front.parameters()} == {CPU}


def test_targets_go_to_the_device_of_the_output():
    batch = (torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))
    output, target = forward(TwoDeviceNet(devices=["cpu", "meta"]), batch)
    assert (output.shape, output.device, target.device) == ((3, 10), META, META)
    assert nn.functional.cross_entropy(output, target).device == META


@pytest.mark.usefixtures("_pretended_spread")
def test_training_and_testing_leave_a_spread_model_where_it_is(tmp_path, monkeypatch):
    trainer = make_trainer(net_config(tmp_path))
    assert trainer.device == CPU
    trainer.train()
    folder = tmp_path / "small/run"
    assert len(read_lines(folder)) == 2
    assert load(folder / "model_best.pt")["state_dict"]["back.0.weight"].shape == (16, 16)
    output = tmp_path / "test.json"
    monkeypatch.setattr(sys, "argv", ["test.py", "-r", str(folder), "-o", str(output)])
    runpy.run_path(str(ROOT / "test.py"), run_name="__main__")
    assert json.loads(output.read_text())["metrics"]["accuracy"] > 0.1


def test_ddp_gets_no_device_for_a_spread_model(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    monkeypatch.setattr(distributed, "process_group", lambda: None)
    wrapper = "DistributedDataParallel"
    monkeypatch.setattr(ddp, wrapper, lambda model, device_ids, **_: device_ids)
    assert DDP().wrap(TwoDeviceNet(devices=["cpu", "meta"]), SECOND) is None
    assert DDP().wrap(TwoDeviceNet(), SECOND) == [SECOND]


@pytest.mark.parametrize(("kind", "name"), [(DataParallel, "dp"), (FSDP, "fsdp")])
def test_dp_and_fsdp_refuse_a_spread_model(kind, name):
    message = f"parallel.type: is {name}, but TwoDeviceNet places its layers on several devices"
    with pytest.raises(UserError, match=message):
        kind().wrap(TwoDeviceNet(devices=["cpu", "meta"]), CPU)


def test_dp_uses_the_accelerators_of_the_run(monkeypatch):
    monkeypatch.setattr(nn, "DataParallel", lambda model, device_ids: device_ids)
    device = torch.device("cuda:0")
    assert DataParallel().on_devices([0, 1]).wrap(nn.ReLU(), device) == [0, 1]
    assert DataParallel(device_ids=[1]).on_devices([0, 1]).wrap(nn.ReLU(), device) == [1]
    message = r"parallel.args.device_ids: 5 is not among the accelerators of this run, \[0, 1\]"
    with pytest.raises(UserError, match=message):
        DataParallel(device_ids=[0, 5]).on_devices([0, 1])
