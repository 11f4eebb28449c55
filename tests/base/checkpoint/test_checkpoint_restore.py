"""Restoring single objects of a run, and the comparison of its config with the one before."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from base.checkpoint.changes import (
    RestoreReport,
    changed_args,
    is_regrouped,
    is_rescheduled,
    list_changes,
)
from base.checkpoint.restore import (
    check_scheduler_state,
    check_types,
    restore_optimizer,
    state_of_this_rank,
)
from base.parallel.strategy import NoParallel
from tests.ranks import in_ranks
from utils.errors import UserError

PATH = Path("checkpoint-epoch1.pt")
STATE = {"state_dict": {}, "epoch": 1, "optimizer": {}, "config": {}}


# -- what a checkpoint must hold -----------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{}, {"format": 1}, {"step": 7, "best": [[0.5, 1]], "parts": {}, "monitor_best": 0}],
    ids=str,
)
def test_a_state_of_ours_or_of_the_template_can_be_resumed(more):
    check_types(STATE | more, PATH)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"state_dict": [1]}, "state_dict"),
        ({"epoch": "1"}, "epoch"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"optimizer": None}, "optimizer"),
        ({"config": None}, "its format"),
        ({"format": 2}, "its format"),
        ({"parts": [1]}, "parts"),
        ({"step": None}, "step"),
        ({"best": 5, "not_improved_count": "x", "monitor_best": "y"}, "monitor_best, not_improv"),
    ],
    ids=str,
)
def test_any_other_state_is_refused_in_one_line(change, problem):
    with pytest.raises(UserError, match=f"{PATH}: a run cannot resume from this file: {problem}"):
        check_types(STATE | change, PATH)


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="resume from this file: optimizer does not fit"):
        check_types({key: value for key, value in STATE.items() if key != "optimizer"}, PATH)


# -- the optimizer -------------------------------------------------------------------------------


def trained_optimizer(lr=0.1, **args):
    """An SGD with momentum after one step, and its model."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, **args)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer, model


def make_config(lr=0.1, kind="SGD", **more):
    return {"optimizer": {"type": kind, "args": {"lr": lr}}} | more


def restore(saved_config, config, lr):
    """Restores an optimizer whose learning rate a schedule has lowered to 0.01."""
    saved, _ = trained_optimizer()
    saved.param_groups[0]["lr"] = 0.01
    state = {"optimizer": copy.deepcopy(saved.state_dict()), "config": saved_config}
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    outcome = restore_optimizer(optimizer, model, NoParallel(), state, config, PATH)
    return optimizer, outcome


def test_an_optimizer_keeps_its_state_and_its_scheduled_rate():
    optimizer, outcome = restore(make_config(), make_config(), 0.1)
    assert outcome == "kept"
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert len(optimizer.state_dict()["state"]) == 2


def test_a_learning_rate_that_the_config_changed_is_in_force():
    optimizer, outcome = restore(make_config(), make_config(lr=0.5), 0.5)
    assert outcome == "kept, with a new lr"
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert len(optimizer.state_dict()["state"]) == 2


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (make_config(kind="Adam"), "was SGD and is Adam"),
        (make_config(transfer={"freeze": 1}), "trains other parameter groups"),
    ],
    ids=["type", "groups"],
)
def test_an_optimizer_of_another_kind_or_other_groups_is_reset(config, reason, caplog):
    optimizer, outcome = restore(make_config(), config, 0.1)
    assert outcome == "reset"
    assert reason in caplog.text
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("state", [{}, {"state": {}, "param_groups": []}, 5], ids=str)
def test_an_optimizer_state_that_does_not_fit_is_one_line(state):
    optimizer, model = trained_optimizer()
    checkpoint = {"optimizer": state, "config": make_config()}
    with pytest.raises(UserError, match=f"{PATH}: the optimizer's state does not fit") as caught:
        restore_optimizer(optimizer, model, NoParallel(), checkpoint, make_config(), PATH)
    assert "\n" not in str(caught.value)


# -- schedulers and ranks ------------------------------------------------------------------------


def test_a_scheduler_takes_the_state_of_its_type_and_numbers_of_any_type():
    optimizer, _ = trained_optimizer()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    state = scheduler.state_dict()
    check_scheduler_state(state, state | {"last_epoch": 3.0, "gamma": None})


@pytest.mark.parametrize("change", [{"step": 1}, {"last_epoch": "1"}, {"base_lrs": 5}], ids=str)
def test_a_scheduler_takes_no_other_attributes(change):
    optimizer, _ = trained_optimizer()
    state = torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict()
    with pytest.raises(ValueError, match=f"a scheduler's {next(iter(change))} cannot be"):
        check_scheduler_state(state, state | change)


def test_as_many_ranks_as_before_get_their_states_back():
    assert state_of_this_rank("all", None) == "all"
    assert state_of_this_rank("all", ["a", "b"]) == "all"
    assert in_ranks(2, state_of_this_rank, "all", ["a", "b"]) == ["a", "b"]
    assert in_ranks(2, state_of_this_rank, "all", ["a", "b", "c"]) == ["all", None]
    assert in_ranks(2, state_of_this_rank, "all", None) == ["all", None]


# -- the config before and now -------------------------------------------------------------------


def test_each_changed_value_is_a_line():
    old = make_config(name="a", trainer={"epochs": 2, "monitor": "off"})
    new = make_config(lr=0.5, name="a", trainer={"epochs": 3}, seed=7)
    assert list_changes(old, new) == [
        "  optimizer.args.lr: 0.1 -> 0.5",
        "  trainer.epochs: 2 -> 3",
        "  trainer.monitor: off -> null",
        "  seed: null -> 7",
    ]
    assert list_changes(old, old) == []


def test_changed_arguments_are_named_whoever_wrote_the_config():
    assert changed_args(make_config(), make_config(lr=0.5), "optimizer") == ["lr"]
    assert changed_args(None, make_config(), "optimizer") == ["lr"]
    assert changed_args({"optimizer": 5}, {}, "optimizer") == []


def test_a_schedule_is_reset_if_it_or_its_first_rate_changed():
    step = {"type": "StepLR", "args": {"step_size": 1}}
    assert not is_rescheduled(make_config(lr_scheduler=step), make_config(lr_scheduler=step))
    assert is_rescheduled(make_config(lr_scheduler=step), make_config())
    assert is_rescheduled(make_config(), make_config(lr=0.5))
    assert is_rescheduled(make_config(), make_config(kind="Adam"))


def test_parameters_are_regrouped_by_some_of_the_keys_of_transfer():
    assert is_regrouped({}, {"transfer": {"freeze": 1}})
    assert is_regrouped({"transfer": {"layer_decay": 0.5}}, {"transfer": {"layer_decay": 0.6}})
    assert not is_regrouped({"transfer": {"init_from": "a"}}, {"transfer": {"init_from": "b"}})


def test_a_report_says_nothing_if_all_is_as_before(caplog):
    report = RestoreReport(PATH, epoch=1, step=9, outcomes={"weights": "kept"})
    report.log(logging.getLogger("test"), "stop")
    assert caplog.records == []
    report.inexact = ["threads 1 -> 2", "torch 1.0 -> 2.0"]
    report.log(logging.getLogger("test"), "go_on")
    assert caplog.messages == [
        "The resume is not exact, because of changes: threads 1 -> 2, torch 1.0 -> 2.0."
    ]
