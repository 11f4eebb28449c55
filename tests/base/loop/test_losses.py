"""Losses of several terms: the sum that is trained, and the numbers that are logged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import base.checkpoint.changes as changes
from base.loop.evaluate import add_up
from tests.base.parallel.spread_runs import check_same_lines, table_config, train
from tests.base.tools.programs import add_module
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from utils.errors import UserError

FILE = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy
class Scaled(nn.Module):
    def __init__(self, power: float = 2.0):
        super().__init__()
        self.power = power
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.tensor(0))
    def forward(self, output, target):
        self.calls += self.training
        return (self.scale * output).square().mean()
def terms(output, target):
    return {"ce": cross_entropy(output, target), "size": 0.1 * output.square().mean()}
"""
TRAINER = """
from torch.nn.functional import cross_entropy
from trainer import Trainer
class Terms(Trainer):
    def train_step(self, batch):
        output, target = self.forward(self.model, batch)
        terms = {"loss_ce": cross_entropy(output, target), "size": 0.25 * output.square().mean()}
        return terms, output, target
"""
LOSS = ["cross_entropy", {"type": "added.Scaled", "weight": 0.25, "name": "size"}]


@pytest.fixture
def config(tmp_path, monkeypatch):
    add_module(monkeypatch, "model", "added", FILE)
    return small_config(tmp_path, epochs=1) | {"loss": LOSS, "metrics": [], "seed": 1}


def train_run(config: dict[str, Any], run_id: str = "run", resume: Any = None) -> Any:
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return trainer


def test_the_weighted_sum_is_trained_as_by_hand(config):
    """The last batch is smaller, and the last window shorter. The terms have no weights."""
    config["trainer"] |= {"accumulation_steps": 2}
    config["data_loader"]["args"]["batch_size"] = 100
    twin = make_trainer(config, "twin")
    totals = dict.fromkeys(("loss", "loss_cross_entropy", "loss_size"), 0.0)
    batches = list(twin.data_loader)
    for first in range(0, len(batches), 2):
        window = batches[first : first + 2]
        for x, y in window:
            output = twin.model(x)
            ce = nn.functional.cross_entropy(output, y)
            size = twin.criterion.losses["size"](output, y)
            (ce + 0.25 * size).div(len(window)).backward()
            for name, value in zip(totals, (ce + 0.25 * size, ce, size), strict=True):
                totals[name] += value.item() * len(y)
        twin.optimizer.step()
        twin.optimizer.zero_grad()
    trainer = make_trainer(config)
    log = trainer._train_epoch(1)
    n_samples = sum(len(y) for _, y in batches)
    for name, total in totals.items():
        assert log[name] == pytest.approx(total / n_samples, rel=1e-6)
    for mine, theirs in zip(trainer.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert list(log)[:3] == list(totals)
    sums = log["val_loss_cross_entropy"] + 0.25 * log["val_loss_size"]
    assert log["val_loss"] == pytest.approx(sums, rel=1e-6)


def test_a_dict_of_losses_is_summed_and_each_is_logged(config, monkeypatch):
    add_module(monkeypatch, "trainer", "terms", TRAINER)
    config |= {"loss": "added.terms"}
    config["trainer"] |= {"type": "terms.Terms", "monitor": "min val_loss_ce"}
    trainer = make_trainer(config)
    log = trainer._train_epoch(1)
    assert log["loss"] == pytest.approx(log["loss_ce"] + log["loss_size"], rel=1e-6)
    assert log["val_loss"] == pytest.approx(log["val_loss_ce"] + log["val_loss_size"], rel=1e-6)


def test_ranks_log_the_terms_of_all_samples(config, tmp_path):
    """The last batch of 364 samples cannot be halved, and the loss has a parameter."""
    config = table_config(tmp_path, epochs=2)
    config["data_loader"]["args"]["batch_size"] = 33
    scaled = {"type": "added.Scaled", "weight": 0.25, "name": "size"}
    config["loss"] = ["binary_cross_entropy_with_logits", scaled]
    train(config, "one")
    in_ranks(2, train, config, "two")
    check_same_lines(tmp_path / "small" / "two", tmp_path / "small" / "one")


def test_a_term_with_parameters_is_trained_and_resumed_to_the_same_bits(config):
    config["trainer"] |= {"epochs": 2, "save_steps": 4, "keep_last": 9}
    trainer = train_run(config)
    assert trainer.criterion.losses["size"].scale != 1
    folder = trainer.config.save_dir
    full = load(folder / "checkpoint-epoch2.pt")
    resumed = train_run(config, "two", sorted(folder.glob("checkpoint-epoch1-step*"))[-1])
    again = load(resumed.config.save_dir / "checkpoint-epoch2.pt")
    ignored = ("config", "environment", "time")
    assert [name for name in differences(full, again) if not name.startswith(ignored)] == []


def test_another_weight_keeps_the_parameters_of_a_term():
    other = [LOSS[0], LOSS[1] | {"weight": 3.0}]
    assert changes.is_same_loss({"loss": LOSS}, {"loss": other})
    assert not changes.is_same_loss({"loss": LOSS}, {"loss": LOSS[:1]})


def test_what_is_computed_from_a_sum_has_no_terms():
    """They would not be those of the new loss."""
    total = add_up({"a": torch.tensor(1.0), "b": torch.tensor([2.0])}, {"b": 0.5})
    assert (total.item(), total.terms) == (2.0, {"loss_a": 1.0, "loss_b": 2.0})
    assert not hasattr(2 * total, "terms")


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"a": torch.ones(2)}, r"'a' must be one number, not \(2,\)"),
        ({"a": 1.0}, "'a' must be one number, not float"),
        ({}, "must not be empty"),
        ({"loss": torch.ones(()), "a": torch.ones(())}, "the sum of the others"),
    ],
)
def test_terms_that_cannot_be_added_are_refused(losses, message):
    with pytest.raises(UserError, match=message):
        add_up(losses)


@pytest.mark.parametrize("loss", ["poisson_nll_loss", {"type": "PoissonNLLLoss"}, ["kl_div"]])
def test_a_loss_that_would_pair_all_outputs_with_all_targets_is_refused(config, loss):
    """torch broadcasts (N, 1) and (N,) here without a warning."""
    criterion = make_trainer(config | {"loss": loss, "metrics": []}).criterion
    with pytest.raises(UserError, match=r"output \(4, 1\) and a target \(4,\), which must be the"):
        criterion(torch.ones(4, 1), torch.ones(4))
    assert criterion(torch.ones(4), torch.ones(4)).ndim == 0
