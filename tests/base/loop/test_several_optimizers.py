"""Several optimizers train the parameters that their patterns select, as one optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.several_optimizers import SeveralOptimizers
from tests.base.loop.test_assembly import FILE, LINEAR
from tests.base.parallel.spread_runs import FSDP_SECTION, check_same_lines, table_config, train
from tests.base.tools.programs import add_module
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from utils.errors import UserError

MUON = {"params": "classifier.*.weight", "type": "Muon", "args": {"lr": 0.02}}
ADAM = {"params": "rest", "type": "AdamW", "args": {"lr": 0.001}}
SGD = {"params": ["features.*"], "type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}


def make_config(tmp_path: Any, *optimizers: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    return small_config(tmp_path, **trainer) | {"optimizer": copy.deepcopy(list(optimizers))}


def make_pair(model: nn.Sequential) -> SeveralOptimizers:
    first = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    return SeveralOptimizers([first, torch.optim.Adam(model[1].parameters(), lr=0.01)])


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))


def step(model: nn.Module, *optimizers: Any) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    model(torch.ones(5, 4)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


# -- as one optimizer ------------------------------------------------------------------------------


def test_they_give_the_bits_of_optimizers_that_are_stepped_one_by_one() -> None:
    model, other = make_model(), make_model()
    pair, others = make_pair(model), make_pair(other).optimizers
    for _ in range(5):
        step(model, pair)
        step(other, *others)
    assert differences(model.state_dict(), other.state_dict()) == []


def test_their_state_is_that_of_one_optimizer_and_goes_on_in_another_process() -> None:
    model = make_model()
    pair = make_pair(model)
    step(model, pair)
    state = copy.deepcopy(pair.state_dict())
    assert sorted(state["state"]) == [0, 1, 2, 3]
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2, 3]]
    other = copy.deepcopy(model)
    resumed = make_pair(other)
    resumed.load_state_dict(state)
    step(model, pair)
    step(other, resumed)
    assert differences(pair.state_dict(), resumed.state_dict()) == []
    assert differences(model.state_dict(), other.state_dict()) == []
    assert resumed.param_groups[1] is resumed.optimizers[1].param_groups[0]


def test_the_state_of_other_optimizers_is_refused() -> None:
    model = make_model()
    pair = make_pair(model)
    with pytest.raises(ValueError, match="it is that of one optimizer, not of SGD, Adam"):
        pair.load_state_dict(torch.optim.Adam(model.parameters()).state_dict())
    swapped = SeveralOptimizers(pair.optimizers[::-1])
    with pytest.raises(ValueError, match="it is that of Adam, SGD, not of SGD, Adam"):
        pair.load_state_dict(swapped.state_dict())


def test_a_scaler_leaves_out_the_steps_of_all_or_of_none() -> None:
    model = make_model()
    pair = make_pair(model)
    scaler = torch.amp.GradScaler("cpu")
    before = copy.deepcopy(model.state_dict())
    scaler.scale(model(torch.full((5, 4), 1e38)).sum()).backward()
    scaler.step(pair)
    assert differences(model.state_dict(), before) == []
    scaler.update()
    pair.zero_grad()
    scaler.scale(model(torch.ones(5, 4)).sum()).backward()
    scaler.step(pair)
    assert len(differences(model.state_dict(), before)) == 4


def test_fused_optimizers_get_the_decision_of_a_scaler() -> None:
    model = make_model()
    kinds = [torch.optim.AdamW(layer.parameters(), fused=True) for layer in model]
    pair = SeveralOptimizers(kinds)
    before = copy.deepcopy(model.state_dict())
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.full((5, 4), 1e38)).sum()).backward()
    scaler.step(pair)
    assert differences(model.state_dict(), before) == []
    assert all("found_inf" not in vars(optimizer) for optimizer in kinds)


def test_a_new_group_goes_to_the_last_one() -> None:
    pair = make_pair(make_model())
    pair.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert [len(optimizer.param_groups) for optimizer in pair.optimizers] == [1, 2]
    assert pair.param_groups[2]["lr"] == 0.01


# -- in a run --------------------------------------------------------------------------------------


def test_a_run_with_them_resumes_to_the_same_bits(tmp_path) -> None:
    options = {"accumulation_steps": 2, "grad_clip_norm": 1.0, "warmup_steps": 3, "save_steps": 2}
    config = make_config(tmp_path, SGD, MUON, ADAM, **options)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    train(config, "run")
    trainer = make_trainer(config, "other")
    folder = trainer.checkpoint_dir.with_name("run")
    uninterrupted = load(folder / "checkpoint-epoch2.pt")
    rates = [group["lr"] for group in uninterrupted["optimizer"]["param_groups"]]
    assert rates == pytest.approx([0.001, 0.0002, 0.00001])
    train(config, "run", folder / "checkpoint-epoch1-step4.pt")
    assert differences(load(folder / "checkpoint-epoch2.pt"), uninterrupted) == []


def test_each_one_has_the_kernel_that_it_has_as_the_only_one(tmp_path) -> None:
    slow = {"params": "features", "type": "Adam", "args": {"foreach": True}}
    trainer = make_trainer(make_config(tmp_path, MUON, slow, ADAM))
    assert [group.get("fused") for group in trainer.optimizer.param_groups] == [None, None, True]


def test_a_scheduler_with_a_highest_rate_keeps_the_ratio_of_the_rates(tmp_path) -> None:
    config = make_config(tmp_path, MUON, ADAM)
    args = {"max_lr": 0.2, "total_steps": 24, "cycle_momentum": False}
    config["lr_scheduler"] = {"type": "OneCycleLR", "args": args}
    groups = make_trainer(config).optimizer.param_groups
    assert [group["max_lr"] for group in groups] == pytest.approx([0.2, 0.01])
    config["lr_scheduler"]["args"].pop("cycle_momentum")  # Muon has no betas, AdamW no momentum
    with pytest.raises(UserError, match="lr_scheduler: OneCycleLR: optimizer must support"):
        make_trainer(config)


def test_options_of_transfer_hold_for_each_optimizer(tmp_path) -> None:
    config = make_config(tmp_path, SGD, ADAM)
    group = {"params": "*.0.weight", "lr_scale": 0.5}
    config["transfer"] = {"param_groups": [group], "no_decay": "norm_and_bias"}
    first, last = make_trainer(config).optimizer.optimizers
    assert [group["lr"] for group in first.param_groups] == [0.05, 0.1, 0.1]
    assert [group["weight_decay"] for group in last.param_groups] == [0.0, 0.01]


def test_another_argument_takes_effect_in_its_optimizer_only(tmp_path) -> None:
    config = make_config(tmp_path, SGD, ADAM, epochs=1)
    train(config, "run")
    config["optimizer"][1]["args"]["weight_decay"] = 0.5
    path = make_trainer(config, "x").checkpoint_dir.with_name("run") / "checkpoint-epoch1.pt"
    trainer = make_trainer(config, "run", path)
    assert [g["weight_decay"] for g in trainer.optimizer.param_groups] == [0, 0.5]
    assert len(trainer.optimizer.state) == len(list(trainer.model.parameters()))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ([SGD, ADAM | {"type": "Adam"}], "was SGD, AdamW and is SGD, Adam now: it is reset."),
        ([SGD | {"params": "rest"}, ADAM | {"params": "classifier"}], "other patterns of param"),
        ({"type": "SGD", "args": {"lr": 0.1}}, "was SGD, AdamW and is SGD now: it is reset."),
    ],
)
def test_other_optimizers_start_anew(tmp_path, caplog, changed: Any, reason: str) -> None:
    config = make_config(tmp_path, SGD, ADAM, epochs=1)
    train(config, "run")
    path = make_trainer(config, "x").checkpoint_dir.with_name("run") / "checkpoint-epoch1.pt"
    trainer = make_trainer(config | {"optimizer": changed}, "run", path)
    assert reason in caplog.text
    assert not trainer.optimizer.state


def test_two_ranks_train_as_one_process_does(tmp_path) -> None:
    config = table_config(tmp_path)
    first = {"params": "*.bias", "type": "Adam", "args": {"lr": 0.01}}
    config["optimizer"] = [first, ADAM]
    train(config, "one")
    in_ranks(2, train, config, "two")
    in_ranks(2, train, config | FSDP_SECTION, "fsdp")
    folder = make_trainer(config).checkpoint_dir.parent
    check_same_lines(folder / "two", folder / "one")
    check_same_lines(folder / "fsdp", folder / "one")
    uninterrupted = load(folder / "fsdp/checkpoint-epoch2.pt")
    in_ranks(2, train, config | FSDP_SECTION, "fsdp", folder / "fsdp/checkpoint-epoch1.pt")
    assert differences(load(folder / "fsdp/checkpoint-epoch2.pt"), uninterrupted) == []
    with pytest.raises(UserError, match=r"optimizer\.0\.type: Muon needs full parameters"):
        make_trainer(config | FSDP_SECTION | {"optimizer": [MUON, ADAM]}, "muon")


@pytest.mark.parametrize("order", [1, -1])
def test_the_parameters_of_the_loss_belong_to_the_rest(tmp_path, monkeypatch, order: int) -> None:
    """They start anew with another loss, and all other parameters go on."""
    add_module(monkeypatch, "model", "added", FILE)
    entries = [{"params": "*.bias", "type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}, ADAM]
    config = make_config(tmp_path, *entries[::order], epochs=1)
    config |= {"arch": LINEAR, "loss": {"type": "added.Centres"}, "metrics": []}
    trainer = make_trainer(config)
    rest = trainer.optimizer.optimizers[entries[::order].index(ADAM)]
    assert rest.param_groups[-1]["params"] == [trainer.criterion.centres]
    trainer.train()
    saved = {name: trainer.optimizer.state[p] for name, p in trainer.model.named_parameters()}
    config["loss"] = {"type": "added.Centres", "args": {"scale": 2.0}}
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    resumed = make_trainer(config, "run", path)
    found = {name: resumed.optimizer.state[p] for name, p in resumed.model.named_parameters()}
    assert differences(found, saved) == []
    assert resumed.criterion.centres not in resumed.optimizer.state


# -- which parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "error"),
    [
        ({}, {"params": "bias"}, r"optimizer\.1\.params: 'bias' matches no parameter"),
        (
            {},
            {"params": ["*.bias", "classifier"]},
            r"optimizer\.1\.params: \['\*\.bias', 'classifier'\] selects features\.0\.bias, "
            r"features\.1\.bias, features\.3\.bias, …, which optimizer\.0",
        ),
        (
            {},
            {"params": "*.2.weight"},
            r"optimizer: no entry selects classifier\.2\.bias \(1 in all\); add .*params: rest",
        ),
        ({"params": "*"}, {}, r"optimizer\.1\.params: 'rest' has no effect: other entries have"),
        (
            {"type": "Muon", "args": {}},
            {},
            r"optimizer\.0\.params: Muon takes only parameters with 2 dimensions, but gets "
            r"features\.0\.weight \(4, 1, 3, 3\), features\.0\.bias \(4,\)",
        ),
        ({"args": {"lr": float("nan")}}, {}, r"optimizer\.0\.args\.lr: lr=nan is not a finite"),
        ({}, {"type": "LBFGS"}, r"optimizer\.1\.type: LBFGS evaluates the loss several times"),
    ],
)
def test_a_list_that_does_not_fit_the_model_is_an_error(
    tmp_path, first: Any, last: Any, error: str
) -> None:
    with pytest.raises(UserError, match=error):
        make_trainer(make_config(tmp_path, SGD | first, ADAM | last))


def test_frozen_parameters_are_in_no_optimizer(tmp_path) -> None:
    config = make_config(tmp_path, SGD, ADAM)
    config["transfer"] = {"freeze": "features.0"}
    trainer = make_trainer(config)
    trained = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
    assert trained == len(list(trainer.model.parameters())) - 2
    config["transfer"] = {"freeze": "features"}
    message = r"optimizer\.0\.params: \['features\.\*'\] has no effect: every parameter of it is fr"
    with pytest.raises(UserError, match=message):
        make_trainer(config, "frozen")


def test_a_matrix_optimizer_for_the_full_model_is_refused(tmp_path) -> None:
    config = small_config(tmp_path) | {"optimizer": {"type": "Muon"}}
    with pytest.raises(UserError, match=r"optimizer\.type: Muon takes .* make optimizer a list"):
        make_trainer(config)
