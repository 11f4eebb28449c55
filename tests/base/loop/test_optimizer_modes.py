"""Optimizers with `train()` and `eval()`: which weights are trained, evaluated and saved."""

from __future__ import annotations

import copy
import signal
from typing import Any

import pytest
import torch

from base.loop.optimizer_modes import OptimizerModes
from tests.base.parallel.spread_runs import FSDP_SECTION, check_same_lines, table_config, train
from tests.base.tools.programs import add_module
from tests.helpers import differences, load, make_trainer
from tests.ranks import in_ranks
from utils.errors import UserError

# Schedule-free SGD, Defazio et al. 2024, https://arxiv.org/abs/2405.15682, equation 3 to 5.
FILE = """
import torch
class Free(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.1, beta: float = 0.7):
        super().__init__(params, {"lr": lr, "beta": beta, "is_training": False, "steps": 0})
    @torch.no_grad()
    def _move(self, training, weight):
        for group in self.param_groups:
            if group["is_training"] != training:
                group["is_training"] = training
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight(group["beta"]))
    def train(self):
        self._move(True, lambda beta: 1 - beta)
    def eval(self):
        self._move(False, lambda beta: 1 - 1 / beta)
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["is_training"]
            group["steps"] += 1
            beta, average = group["beta"], 1 / group["steps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                z = state.setdefault("z", p.detach().clone())
                x = torch.lerp(p, z, 1 - 1 / beta)
                z.sub_(p.grad, alpha=group["lr"])
                x.lerp_(z, average)
                p.copy_(torch.lerp(x, z, 1 - beta))
class Sharp(Free):
    def step(self, closure):
        closure()
"""
FREE = {"type": "added.Free", "args": {"lr": 0.5}}
SEVERAL = [{"params": "*.weight", **FREE}, {"params": "rest", "type": "Adam", "args": {"lr": 0.01}}]


@pytest.fixture(params=["one", "several"])
def config(request, tmp_path, monkeypatch) -> dict[str, Any]:
    add_module(monkeypatch, "trainer", "added", FILE)
    optimizer = FREE if request.param == "one" else SEVERAL
    return table_config(tmp_path) | {"optimizer": copy.deepcopy(optimizer)}


def train_run(config: dict[str, Any], run_id: str, resume: Any = None) -> Any:
    trainer = make_trainer(config, run_id, resume)
    trainer.train()
    return trainer


def copy_weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def test_neither_a_validation_nor_a_checkpoint_changes_the_training(config) -> None:
    trainer = train_run(config | {"trainer": config["trainer"] | {"save_steps": 1}}, "run")
    bare = make_trainer(config, "bare")
    bare.do_validation, bare._save_checkpoint = False, lambda *args, **kwargs: None
    bare.train()
    assert differences(copy_weights(trainer), copy_weights(bare)) == []


def test_a_checkpoint_has_the_weights_that_were_validated(config) -> None:
    trainer = train_run(config, "run")
    trained = copy_weights(trainer)
    state = load(trainer.checkpoint_dir / "checkpoint-epoch2.pt")
    assert len(differences(trained, state["state_dict"])) == len(trained) // (
        2 if isinstance(config["optimizer"], list) else 1
    )
    fresh = make_trainer(config, "fresh")
    fresh.model.load_state_dict(state["state_dict"])
    assert fresh._valid_epoch(2)["loss"] == trainer.last_log["val_loss"]
    with trainer.train_state.modes.evaluating():
        assert differences(copy_weights(trainer), dict(state["state_dict"])) == []
    assert differences(copy_weights(trainer), trained) == []


@pytest.mark.parametrize("name", ["checkpoint-epoch1.pt", "checkpoint-epoch2-step11.pt"])
def test_a_run_resumes_to_the_same_bits(config, name: str) -> None:
    config["trainer"] |= {"save_steps": 5, "ema_decay": 0.9, "accumulation_steps": 2}
    folder = train_run(config, "run").checkpoint_dir
    uninterrupted = load(folder / "checkpoint-epoch2.pt")
    train_run(config, "run", folder / name)
    assert differences(load(folder / "checkpoint-epoch2.pt"), uninterrupted) == []


def test_a_stop_in_the_validation_saves_both_kinds_of_weights(config) -> None:
    uninterrupted = train_run(config, "run")
    stopped = make_trainer(config, "stopped")
    criterion = stopped.criterion

    def stop_in_validation(output: Any, target: Any) -> Any:
        if not stopped.model.training:
            signal.raise_signal(signal.SIGUSR1)
        return criterion(output, target)

    stopped.criterion = stop_in_validation
    stopped.train()
    (path,) = stopped.checkpoint_dir.glob("checkpoint-*.pt")
    assert path.name == "checkpoint-epoch1-step12.pt"
    resumed = train_run(config, "stopped", path)
    assert differences(copy_weights(resumed), copy_weights(uninterrupted)) == []
    assert resumed.last_log == uninterrupted.last_log


def test_a_new_rate_keeps_the_counters_of_the_optimizer(config) -> None:
    trainer = train_run(config, "run")
    sections = config["optimizer"]
    (sections[0] if isinstance(sections, list) else sections)["args"]["lr"] = 0.25
    path = trainer.checkpoint_dir / "checkpoint-epoch2.pt"
    group = make_trainer(config, "run", path).optimizer.param_groups[0]
    assert (group["lr"], group["steps"]) == (0.25, trainer.progress.step)


@pytest.mark.parametrize("config", ["several"], indirect=True)
def test_ranks_train_and_resume_as_one_process_does(config) -> None:
    train(config, "one")
    folder = make_trainer(config, "other").checkpoint_dir.with_name("one")
    for name, section in (("ddp", {}), ("fsdp", FSDP_SECTION)):
        in_ranks(2, train, config | section, name)
        path = folder.with_name(name)
        check_same_lines(path, folder)
        uninterrupted = load(path / "checkpoint-epoch2.pt")
        in_ranks(2, train, config | section, name, path / "checkpoint-epoch1.pt")
        assert differences(load(path / "checkpoint-epoch2.pt"), uninterrupted) == []


@pytest.mark.parametrize("config", ["one"], indirect=True)
def test_options_that_do_not_suit_it_give_a_warning(config, caplog) -> None:
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1}}
    config["trainer"]["ema_decay"] = 0.9
    make_trainer(config)
    assert "lr_scheduler: Free is made to train without a schedule" in caplog.text
    assert "trainer.ema_decay: Free averages the weights itself" in caplog.text


@pytest.mark.parametrize("config", ["one"], indirect=True)
def test_an_optimizer_that_needs_a_closure_is_refused(config) -> None:
    config["optimizer"] = {"type": "added.Sharp"}
    with pytest.raises(UserError, match=r"optimizer\.type: Sharp evaluates the loss several"):
        make_trainer(config)


def test_a_loop_may_switch_its_optimizers_itself(monkeypatch) -> None:
    """Then a checkpoint is saved while they are in eval()."""
    add_module(monkeypatch, "trainer", "added", FILE)
    from trainer.added import Free  # type: ignore[import-not-found]

    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = Free([parameter])
    modes = OptimizerModes()
    modes.start([optimizer])
    parameter.sum().backward()
    optimizer.step()
    optimizer.step()
    trained = parameter.detach().clone()
    optimizer.eval()
    with modes.evaluating():
        evaluated = parameter.detach().clone()
    assert not torch.equal(evaluated, trained)
    torch.testing.assert_close(parameter.detach(), trained)
