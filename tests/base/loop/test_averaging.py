"""The averages of a model's weights keep integers, ties and computed weights right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from base.feature_options import SWAOptions
from base.loop import averaging
from base.loop.averaging import EMA
from base.loop.evaluate import forward
from base.loop.update import Update
from base.options import TrainerOptions


def test_integers_are_copied_and_ties_stay():
    model = nn.Module()
    model.table = nn.Parameter(torch.arange(1000), requires_grad=False)
    model.embed, model.decoder = nn.Embedding(3, 2), nn.Linear(2, 3)
    model.decoder.weight = model.embed.weight
    average = EMA(model, 0.999)
    for _ in range(3):
        average.update_parameters(model)
    assert torch.equal(average.module.table, model.table)
    assert average.module.decoder.weight is average.module.embed.weight


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore")
def test_a_weight_norm_is_averaged(norm):
    """The older one holds a computed tensor, which ``deepcopy`` refuses."""
    model = nn.Sequential(norm(nn.Linear(2, 2)))
    average = EMA(model, 0.5)
    inputs = torch.ones(1, 2)
    assert torch.equal(average(inputs), model(inputs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update_parameters(model)  # the first update copies
    assert torch.equal(average(inputs), model(inputs))


class Bank(nn.Module):
    """Its buffers change their form, as memory banks and caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("bank", torch.zeros(3))
        self.register_buffer("late", None)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.register_buffer("expanded", torch.zeros(1).expand(3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bank", torch.arange(5.0)),
        ("bank", torch.ones(1)),
        ("bank", torch.ones(3, dtype=torch.float64)),
        ("bank", None),
        ("late", torch.ones(2)),
        ("hidden", torch.ones(2)),
        ("expanded", torch.ones(3)),
    ],
)
def test_buffers_are_copied_in_any_form(name: str, value: torch.Tensor | None) -> None:
    """ignite #2590, ema-pytorch #8."""
    model = Bank()
    average = EMA(model, 0.9)
    model.norm(torch.randn(4, 2))
    setattr(model, name, value)
    for _ in range(2):
        average.update_parameters(model)
        expected = dict(model.named_buffers())
        found = dict(average.module.named_buffers())
        assert found.keys() == expected.keys()
        assert all(found[key].dtype == expected[key].dtype for key in expected)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        model.norm.running_mean.add_(1)  # the average has its own copy
        assert not torch.equal(average.module.norm.running_mean, model.norm.running_mean)
    assert average.module.state_dict().keys() == model.state_dict().keys()


def test_a_shared_buffer_stays_shared() -> None:
    model = nn.Sequential(Bank(), Bank())
    model[1].bank = model[0].bank
    average = EMA(model, 0.9)
    model[0].bank = model[1].bank = torch.ones(5)
    average.update_parameters(model)
    assert average.module[0].bank is average.module[1].bank


@pytest.mark.parametrize("devices", [("cpu",), ()], ids=["CPU", "accelerator"])
def test_a_step_that_was_left_out_does_not_count(
    devices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 leaves the first steps out, until it has found its scale."""
    monkeypatch.setattr(averaging, "READ_AT_ONCE", devices)
    model = nn.Linear(1, 1, bias=False)
    average = EMA(model, 0.75)
    found = []
    for weight, moved in ((0.0, False), (8.0, True), (8.0, False), (4.0, True), (4.0, False)):
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model, torch.tensor(moved))
        found.append(average.module.weight.item())
    assert found[1:] == [8.0, 8.0, 7.0, 7.0]
    assert int(average.n_averaged) == 2


def average_ones(
    devices: tuple[str, ...], patch: pytest.MonkeyPatch, **options: Any
) -> list[float]:
    """The average of a weight that is 0 first, and then 1 in each of five steps."""
    patch.setattr(averaging, "READ_AT_ONCE", devices)
    model = nn.Linear(1, 1, bias=False)
    average = EMA(model, **options)
    found = []
    for step in range(6):
        nn.init.constant_(model.weight, float(step > 0))
        average.update_parameters(model, torch.tensor(True))
        found.append(average.module.weight.item())
    return found


@pytest.mark.parametrize("devices", [("cpu",), ()], ids=["CPU", "accelerator"])
@pytest.mark.parametrize(("gamma", "power"), [(1.0, 2 / 3), (10.0, 1.0)])
def test_the_decay_rises_by_its_formula(
    devices: tuple[str, ...], gamma: float, power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, value = [0.0], 0.0
    for n in range(1, 6):
        decay = min(0.5, 1 - (1 + n / gamma) ** -power)
        value = decay * value + (1 - decay)
        expected.append(value)
    found = average_ones(devices, monkeypatch, decay=0.5, warmup=(gamma, power))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[1] > average_ones(devices, monkeypatch, decay=0.5)[1]


class Epochs:
    """Ends epochs for an SWA of one weight, with the number of the epoch as the weight."""

    def __init__(self, epochs: int, **options: Any) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        trainer = TrainerOptions(epochs=epochs, swa=SWAOptions(**options))
        self.update = Update(self.model, optimizer, trainer, torch.device("cpu"))
        self.swa: Any = self.update.averages["swa"]
        self.found: list[float | None] = []
        for epoch in range(1, epochs + 1):
            self.update.progress.epoch = epoch
            for _ in range(3):
                self.update.progress.step += 1
                nn.init.constant_(self.model.weight, float(self.update.progress.step))
                self.swa.update_parameters(self.model)
            self.end()

    def end(self) -> None:
        self.swa.end_epoch(self.update, [], forward)
        weight = self.swa.module.weight.item()
        self.found.append(pytest.approx(weight) if self.swa.is_ready() else None)


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs() -> None:
    assert Epochs(4, start=2).found == [None, 6.0, 7.5, 9.0]
    assert Epochs(4, start=0.5).found == [None, None, 9.0, 10.5]
    assert Epochs(2, start=0).found == [3.0, 4.5]


def test_swa_is_the_mean_of_the_weights_of_every_nth_step() -> None:
    assert Epochs(3, start=2, steps=2).found == [None, 5.0, 6.0]


def test_an_epoch_that_ends_twice_counts_once() -> None:
    """A resumed run repeats a validation that was stopped."""
    run = Epochs(3, start=2)
    run.end()
    assert run.found[-2:] == [7.5, 7.5]
    assert int(run.swa.n_averaged) == 2


@pytest.mark.parametrize(
    ("start", "epochs", "first"), [(0.75, 4, 4), (0.29, 100, 30), (0, 5, 1), (3, 5, 3), (1, 5, 1)]
)
def test_the_first_epoch_of_swa_is_a_number_or_a_fraction(
    start: float, epochs: int, first: int
) -> None:
    assert SWAOptions(start=start).first_epoch(epochs) == first
