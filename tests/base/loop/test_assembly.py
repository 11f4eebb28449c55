"""The optimizer trains the parameters of the loss too; lazy models get shapes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from base.run import RunFolder
from tests.base.parallel.spread_runs import check_same_lines, train
from tests.base.tools.programs import add_module, call_program
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from utils.errors import UserError

FILE = """
import torch
from torch import nn
from base import BaseModel
class Centres(nn.Module):
    def __init__(self, scale: float = 1.0, frozen: bool = False):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(10, 10))
        self.fixed = nn.Parameter(torch.arange(3), requires_grad=False)
        self.register_buffer("calls", torch.tensor(0))
        self.scale = scale
    def forward(self, output, target):
        if self.training:
            self.calls += 1
        return nn.functional.cross_entropy(self.scale * output @ self.centres, target)
class LazyLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LazyLinear(3)
class Plain(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        return self.layer(x.flatten(1))
class Lazy(BaseModel):
    def __init__(self, unused: bool = False):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d())
        self.aux, self.head = nn.LazyLinear(2), nn.LazyLinear(10)
        self.unused = nn.LazyLinear(3) if unused else None
    def forward(self, x):
        x = self.body(x)
        if self.training:
            self.seen = self.aux(x)
        return self.head(x)
"""
LINEAR = {"type": "added.Plain"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run with a loss that has parameters, on a model without batch norms."""
    add_module(monkeypatch, "model", "added", FILE)
    loss = {"type": "added.Centres"}
    return small_config(tmp_path) | {"arch": LINEAR, "loss": loss, "metrics": [], "seed": 1}


def train_run(config: dict[str, Any], run_id: str, resume: Any = None) -> Any:
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return trainer


def write_config(config: dict[str, Any]) -> None:
    """Writes the run's config.json, which test.py reads."""
    RunFolder(make_trainer(config).config).describe()


# -- the parameters of the loss --------------------------------------------------------------------


def test_the_loss_is_trained_clipped_saved_and_resumed_to_the_same_bits(config):
    config["trainer"] |= {"grad_clip_norm": 0.1, "accumulation_steps": 5}
    start = make_trainer(config).criterion.centres.detach().clone()
    trainer = train_run(config, "run")
    assert not torch.equal(trainer.criterion.centres, start)
    groups = trainer.optimizer.param_groups
    assert [len(group["params"]) for group in groups] == [2, 1]
    folder = trainer.checkpoint_dir
    uninterrupted = load(folder / "checkpoint-epoch2.pt")
    assert torch.equal(uninterrupted["parts"]["criterion"]["centres"], trainer.criterion.centres)
    train_run(config, "run", folder / "checkpoint-epoch1.pt")
    assert differences(load(folder / "checkpoint-epoch2.pt"), uninterrupted) == []


def test_a_validation_changes_nothing_in_the_loss(config):
    trainer = train_run(config, "run")
    assert trainer.criterion.calls == trainer.progress.step
    assert trainer.criterion.training


def test_two_ranks_train_the_loss_as_one_process_does(config):
    config["data_loader"]["args"]["validation_split"] = 0.0
    config["trainer"] |= {"grad_clip_norm": 0.1, "accumulation_steps": 5}
    train(config, "one")
    in_ranks(2, train, config, "two")
    folder = make_trainer(config).checkpoint_dir.parent
    check_same_lines(folder / "two", folder / "one")
    one, two = (load(folder / f"{run}/checkpoint-epoch2.pt")["parts"] for run in ("one", "two"))
    torch.testing.assert_close(one["criterion"]["centres"], two["criterion"]["centres"])


@pytest.mark.usefixtures("root_logger")
def test_a_test_uses_the_parameters_of_the_loss(config):
    path = train_run(config, "run").checkpoint_dir / "checkpoint-epoch2.pt"
    write_config(config)
    state = load(path)
    state["parts"]["criterion"]["centres"].zero_()  # then all classes are equally likely
    torch.save(state, path)
    output = path.with_name("out.json")
    assert call_program("test.py", "-r", path, "-o", output) == 0
    loss = json.loads(output.read_text(encoding="utf-8"))["metrics"]["loss"]
    assert loss == pytest.approx(math.log(10))


def test_a_checkpoint_without_a_state_of_the_loss_resumes(config):
    """As the checkpoints of earlier versions, whose optimizer did not have its parameters."""
    trainer = train_run(config, "run")
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    state = load(path)
    del state["parts"]["criterion"]
    loss_group = state["optimizer"]["param_groups"].pop()
    for number in loss_group["params"]:
        del state["optimizer"]["state"][number]
    torch.save(state, path)
    resumed = train_run(config, "run", path)
    assert resumed.progress.epoch == 3


def test_another_loss_starts_anew_and_the_model_goes_on(config, caplog):
    trainer = train_run(config, "run")
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    config["loss"] = {"type": "added.Centres", "args": {"scale": 2.0}}
    resumed = make_trainer(config, resume=path)
    states = resumed.optimizer.state_dict()["state"]
    assert list(states) == [0, 1]
    resumed.train()
    assert "optimizer              kept; new for the parameters of the loss" in caplog.text
    assert "criterion              reset, because loss changed" in caplog.text
    config["loss"] = "cross_entropy"
    assert len(make_trainer(config, resume=path).optimizer.param_groups) == 1


# -- lazy models -----------------------------------------------------------------------------------


def test_a_lazy_model_trains_like_its_twin_and_resumes(config):
    config |= {"arch": {"type": "added.Lazy"}, "loss": "cross_entropy"}
    config["transfer"] = {"freeze": ["body"]}
    config["trainer"] |= {"ema_decay": 0.9}
    trainer = make_trainer(config)
    assert (trainer.model.head.in_features, trainer.model.aux.in_features) == (8, 8)
    assert trainer.model.body[2].num_batches_tracked == 0
    trainer.train()
    folder = trainer.checkpoint_dir
    uninterrupted = load(folder / "checkpoint-epoch2.pt")
    train_run(config, "run", folder / "checkpoint-epoch1.pt")
    assert differences(load(folder / "checkpoint-epoch2.pt"), uninterrupted) == []


def test_the_shapes_cost_no_sample_and_no_random_number(config):
    config["loss"] = "cross_entropy"
    orders = []
    for arch in (LINEAR, {"type": "added.Lazy"}):
        trainer = make_trainer(config | {"arch": arch})
        trainer._train_epoch(1)
        orders.append(trainer.data_loader.list_batches())
    assert orders[0] == orders[1]


@pytest.mark.usefixtures("root_logger")
def test_a_lazy_model_is_tested(config):
    config |= {"arch": {"type": "added.Lazy"}, "loss": "cross_entropy"}
    config["transfer"] = {"head": {"num_classes": 10}}
    trainer = train_run(config, "run")
    write_config(config)
    assert call_program("test.py", "-r", trainer.checkpoint_dir) == 0


def test_a_lazy_module_that_no_batch_reaches_is_one_line(config):
    config["arch"] = {"type": "added.Lazy", "args": {"unused": True}}
    with pytest.raises(UserError, match=r"unused\.weight is lazy, and a first batch did not give"):
        make_trainer(config)


def test_a_lazy_loss_is_one_line(config):
    config["loss"] = {"type": "added.LazyLoss"}
    with pytest.raises(UserError, match=r"layer\.weight is lazy, and only a model may be"):
        make_trainer(config)


def test_a_lazy_model_prints_what_is_known(config):
    config["arch"] = {"type": "added.Lazy"}
    from model.added import Lazy  # type: ignore[import-not-found]

    assert str(Lazy()).endswith("Trainable parameters: 0, and 8 lazy tensors without a shape yet")
    assert isinstance(Lazy(), nn.Module)
