"""Objects with a state are found wherever a trainer keeps them."""

from __future__ import annotations

from collections import UserList, deque, namedtuple
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import torch
from torch import nn

from base.checkpoint.stateful import find_stateful
from base.loop.update import Update
from base.options import TrainerOptions
from tests.helpers import differences, load, make_trainer, small_config
from trainer.trainer import Trainer
from utils.errors import UserError

Nets = namedtuple("Nets", ["first", "second"])
CPU = torch.device("cpu")


@dataclass
class Player:
    net: nn.Module
    optimizer: Any


class Helper:
    """Knows its trainer, and has a state of its own."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.count, self.inner = trainer, 0, {"net": nn.Linear(1, 1)}


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Owner:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)


def find(**attributes: Any) -> dict[str, Any]:
    owner = Owner()
    vars(owner).update(attributes)
    return find_stateful(vars(owner))


def test_objects_inside_of_attributes_are_found_under_their_path():
    net, optimizer = nn.Linear(1, 1), torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    assert list(find(nets={"a": [net]})) == ["nets.a.0"]
    assert list(find(nets=Nets(net, (1, 2)))) == ["nets.first"]
    assert list(find(player=Player(net, None))) == ["player.net"]
    assert list(find(optimizers={1: optimizer})) == ["optimizers.1", "optimizers.1.parameters"]
    assert list(find(nets=deque([net]), more=SimpleNamespace(net=nn.Linear(1, 1)))) == [
        "nets.0",
        "more.net",
    ]
    assert list(find(counter=Counter(), counters=[Counter()])) == ["counter", "counters.0"]


def test_keys_and_the_items_of_other_lists_are_found_too():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    array = np.array([first, second], dtype=object)
    assert list(find(nets=array)) == list(find(nets=UserList(array))) == ["nets.0", "nets.1"]
    assert list(find(pairs={first: second})) == ["pairs.0", "pairs.keys.0"]
    assert list(find(nets={object(): first})) == ["nets.0"]  # its text has an address


@pytest.mark.parametrize("kind", [set, frozenset, WeakSet])
@pytest.mark.parametrize("nest", [lambda items: items, lambda items: SimpleNamespace(all=[items])])
def test_a_set_of_objects_with_a_state_is_refused(kind, nest):
    """They would start anew in a resumed run, because nothing tells which of them is which."""
    nets = {nn.Linear(1, 1), nn.Linear(1, 1)}
    with pytest.raises(
        UserError, match=r"^trainer: `nets\S*` is a set of .*, such as Linear. A se"
    ):
        find(nets=nest(kind(nets)))


def test_a_set_may_hold_objects_that_are_saved_elsewhere_or_have_no_state():
    owner, net = Owner(), nn.Linear(1, 1)
    vars(owner).update(all={net, owner.model[0], owner.optimizer, nn.ReLU(), 3, "a"}, nets=[net])
    owner.helpers = {Helper(owner)}  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="`helpers`"):
        find_stateful(vars(owner))
    owner.helpers = set()  # type: ignore[attr-defined]
    assert list(find_stateful(vars(owner))) == ["nets.0"]


def test_an_object_is_found_once_and_by_its_outermost_name():
    owner, net = Owner(), nn.Sequential(nn.Linear(1, 1))
    vars(owner).update(all=[net, net[0], owner.model[0], owner.optimizer], net=net)
    owner.helper = Helper(owner)  # type: ignore[attr-defined]
    assert list(find_stateful(vars(owner))) == ["net", "helper.inner.net"]


def test_two_objects_of_the_same_name_are_both_found():
    names = ["nets.a.b", "nets.a.b (2)"]
    assert list(find(nets={"a.b": nn.Linear(1, 1), "a": {"b": nn.Linear(1, 1)}})) == names


def test_the_optimizer_and_the_schedule_of_an_update_are_found():
    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    update = Update(net, optimizer, TrainerOptions(epochs=1), CPU, schedule)
    names = ["updates.g", "updates.g.optimizer", "updates.g.lr_scheduler"]
    assert list(find(net=net, updates={"g": update})) == ["net", *names]


class InDict(Trainer):
    """A second optimizer in a dict, of a parameter that no module has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = nn.Parameter(torch.ones(3))
        self.optimizers = {"helper": torch.optim.Adam([self.helper], lr=0.1)}

    def train_step(self, batch: Any) -> Any:
        self.optimizers["helper"].zero_grad()
        self.helper.square().sum().backward()
        self.optimizers["helper"].step()
        return super().train_step(batch)


def test_an_optimizer_in_a_dict_and_its_parameters_resume_to_the_same_bits(tmp_path, monkeypatch):
    """https://github.com/pytorch/rl/issues/4188"""
    monkeypatch.setattr("trainer.trainer.InDict", InDict, raising=False)
    monkeypatch.setattr(InDict, "__module__", "trainer.trainer")
    config = small_config(tmp_path, type="InDict", epochs=2)
    trainer = make_trainer(config)
    trainer.train()
    folder = trainer.checkpoint_dir
    expected = load(folder / "checkpoint-epoch2.pt")
    assert expected["parts"]["optimizers.helper"]["state"][0]["step"] > 0
    make_trainer(config, resume=folder / "checkpoint-epoch1.pt").train()
    assert differences(load(folder / "checkpoint-epoch2.pt"), expected) == []


class Late(InDict):
    """Makes the optimizer in the first step, which comes after the restoration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimizers.clear()

    def train_step(self, batch: Any) -> Any:
        self.optimizers.setdefault("helper", torch.optim.Adam([self.helper], lr=0.1))
        return super().train_step(batch)


def test_an_object_that_exists_too_late_to_be_restored_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("trainer.trainer.Late", Late, raising=False)
    monkeypatch.setattr(Late, "__module__", "trainer.trainer")
    trainer = make_trainer(small_config(tmp_path, type="Late", epochs=1))
    trainer.train()
    checkpoint = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    with caplog.at_level("INFO", logger="train"):
        make_trainer(small_config(tmp_path, type="Late", epochs=2), resume=checkpoint).train()
    lines = [line for line in caplog.text.splitlines() if "optimizers.helper  " in line]
    assert len(lines) == 1
    assert "not restored, because the trainer has no such object when it starts" in lines[0]


class Noise(nn.Module):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape, generator=self.rng)


class NoisyTrainer(Trainer):
    """A generator in the model, and one in a dict of the trainer."""

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        model.noise = Noise()
        super().__init__(model, *args, **kwargs)
        self.tools = {"rng": np.random.default_rng(1)}

    def train_step(self, batch: Any) -> Any:
        images, target = batch
        scale = float(self.tools["rng"].random())
        return super().train_step([self.model.noise(images * scale), target])


def test_generators_of_a_model_and_a_trainer_resume_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.trainer.NoisyTrainer", NoisyTrainer, raising=False)
    monkeypatch.setattr(NoisyTrainer, "__module__", "trainer.trainer")
    config = small_config(tmp_path, type="NoisyTrainer", epochs=2)
    trainer = make_trainer(config)
    trainer.train()
    folder = trainer.checkpoint_dir
    expected = load(folder / "checkpoint-epoch2.pt")
    make_trainer(config, resume=folder / "checkpoint-epoch1.pt").train()
    assert differences(load(folder / "checkpoint-epoch2.pt"), expected) == []


class LeavesOut(Trainer):
    """Has an optimizer of only some parameters of its loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.criterion = nn.Linear(3, 2)
        self.others = [torch.optim.SGD([self.criterion.bias], lr=0.1)]


def test_parameters_of_the_loss_that_no_optimizer_has_are_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("trainer.trainer.LeavesOut", LeavesOut, raising=False)
    monkeypatch.setattr(LeavesOut, "__module__", "trainer.trainer")
    trainer = make_trainer(small_config(tmp_path, type="LeavesOut"))
    trainer.train_state.restore_rest()
    assert "1 parameters of the loss are in no optimizer, so they are not trained." in caplog.text


def test_objects_that_functions_keep_are_found():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    assert "step.self" in find(step=optimizer.step)
    assert "step.args.0" in find(step=partial(print, optimizer))
    assert "step.optimizer" in find(step=lambda: optimizer)
    assert not find(log=print, name=str.upper)
