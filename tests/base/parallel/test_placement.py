"""Models that lie on several devices, as far as one CPU can show: the second device is torch's ``meta``, or a stub."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import torch
from base.parallel.placement import is_spread, output_device, placed
from torch import nn

from base.loop.evaluate import forward
from base.parallel import placement as placing
from base.parallel import strategy as base_parallel
from base.parallel.strategy import ddp, dp, fsdp
from model.two_device import TwoDeviceNet
from tests.base.test_parallel import lines_of
from tests.helpers import ROOT, load, make_trainer, small_config
from utils import distributed as parallel
from utils.errors import UserError

CPU, META, SECOND = torch.device("cpu"), torch.device("meta"), torch.device("cuda:1")


def net_config(tmp_path, **trainer):
    config = small_config(tmp_path, monitor="min val_loss", **trainer)
    return config | {
        "arch": {"type": "two_device.TwoDeviceNet", "args": {"hidden": 16}},
        "loss": {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}},
    }


@pytest.fixture
def stub(monkeypatch):
    """The back of a TwoDeviceNet says that it is on another device; whoever would move the model fails."""
    backs = set()
    usual = TwoDeviceNet.__init__

    def made(self, *args, **kwargs):
        usual(self, *args, **kwargs)
        backs.update(map(id, self.back.parameters()))
        self.to = None

    monkeypatch.setattr(TwoDeviceNet, "__init__", made)
    monkeypatch.setattr(
        placing,
        "device_of",
        lambda parameter: SECOND if id(parameter) in backs else parameter.device,
    )


def test_a_model_on_one_device_is_moved_and_one_on_two_stays():
    model, device = placed(nn.Linear(2, 2), META)
    assert (next(model.parameters()).device, device, output_device(model, device)) == (
        META,
        META,
        META,
    )
    model = TwoDeviceNet(devices=["cpu", "meta"])
    assert placed(model, META) == (model, CPU)
    assert is_spread(model)
    assert output_device(model, CPU) == META
    assert {parameter.device for parameter in model.front.parameters()} == {CPU}
    assert not is_spread(TwoDeviceNet())  # one CPU takes all of it
    assert placed(nn.ReLU(), CPU)[1] == CPU  # without parameters


def test_activations_and_targets_go_where_the_second_half_is():
    output, target = forward(
        TwoDeviceNet(devices=["cpu", "meta"]), (torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))
    )
    assert (output.shape, output.device, target.device) == ((3, 10), META, META)
    assert nn.functional.cross_entropy(output, target).device == META


def test_the_trainer_and_the_test_program_leave_it_where_it_is(tmp_path, stub, monkeypatch):
    trainer = make_trainer(net_config(tmp_path))
    assert trainer.device == CPU
    trainer.train()
    assert len(lines_of(tmp_path / "small/run")) == 2
    assert load(tmp_path / "small/run/model_best.pt")["state_dict"]["back.0.weight"].shape == (
        16,
        16,
    )
    monkeypatch.setattr(
        sys,
        "argv",
        ["test.py", "-r", str(tmp_path / "small/run"), "-o", str(tmp_path / "test.json")],
    )
    runpy.run_path(str(ROOT / "test.py"), run_name="__main__")
    assert json.loads((tmp_path / "test.json").read_text())["metrics"]["accuracy"] > 0.1


def test_ddp_is_told_no_device_for_it(monkeypatch):
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    monkeypatch.setattr(parallel, "barrier", lambda: None)
    monkeypatch.setattr(
        base_parallel, "DistributedDataParallel", lambda model, device_ids, **_: device_ids
    )
    assert ddp().wrap(TwoDeviceNet(devices=["cpu", "meta"]), SECOND) is None
    assert ddp().wrap(TwoDeviceNet(), SECOND) == [SECOND]


@pytest.mark.parametrize("kind", [dp, fsdp])
def test_what_takes_models_of_one_device_only_refuses_it(kind):
    with pytest.raises(
        UserError, match=f"parallel.type: is {kind.__name__}, but TwoDeviceNet places its own parts"
    ):
        kind().wrap(TwoDeviceNet(devices=["cpu", "meta"]), CPU)
