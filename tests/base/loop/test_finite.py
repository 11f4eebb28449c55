"""NaN and infinity reach neither the weights nor a checkpoint."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.finite import FiniteGuard, find_non_finite
from base.loop.gradient_check import GradientCheck, find_in_gradients
from base.loop.progress import Progress
from base.options import TrainerOptions
from base.parallel.strategy import NoParallel
from tests.helpers import load, make_trainer, small_config
from utils.errors import UserError

NAN, INF = float("nan"), float("inf")


def poison_gradient(trainer: Any, batch: int) -> None:
    """Makes one gradient NaN in a batch of each epoch; the loss stays finite."""
    train_step = trainer.train_step

    def poisoned(data: Any) -> Any:
        loss, output, target = train_step(data)
        if trainer.progress.batch == batch:  # the gradient of sqrt at 0 is infinite
            loss = loss + (0 * next(trainer.model.parameters())).sum().sqrt()
        return loss, output, target

    trainer.train_step = poisoned


def list_bad(folder: Path) -> dict[str, list[str]]:
    files = sorted(folder.glob("*.pt"))
    return {file.name: find_non_finite(load(file)["state_dict"]) for file in files}


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"grad_clip_norm": 1.0},
    "accumulated": {"accumulation_steps": 2},
    "averaged": {"ema_decay": 0.9, "async_save": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("optimizer", ["Adam", "RMSprop"])
def test_a_gradient_that_is_not_finite_ends_the_run_before_its_step(
    tmp_path: Path, options: dict[str, Any], optimizer: str
) -> None:
    """habitat-lab #2226: the loss is finite where its gradient is not."""
    config = small_config(tmp_path, save_steps=1, **options)
    trainer = make_trainer(config | {"optimizer": {"type": optimizer, "args": {"lr": 0.01}}})
    poison_gradient(trainer, 6)
    message = (
        r"gradient of features.0.weight.* is not finite after .*; this step changed no weights"
    )
    with pytest.raises(UserError, match=message):
        trainer.train()
    assert find_non_finite(trainer.model.state_dict()) == []
    bad = list_bad(trainer.checkpoint_dir)
    assert bad
    assert not any(bad.values())


def test_nan_policy_ignore_leaves_such_steps_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, nan_policy="ignore", monitor="min loss")
    trainer = make_trainer(config)
    poison_gradient(trainer, 6)
    trainer.train()
    bad = list_bad(trainer.checkpoint_dir)
    assert "model_best.pt" in bad
    assert not any(bad.values())
    warnings = [record.getMessage() for record in caplog.records if "gradient" in record.message]
    assert len(warnings) == 1
    assert warnings[0].endswith("this step changed no weights (trainer.nan_policy is ignore).")


def test_a_loop_that_steps_itself_is_guarded_too(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))

    def train_epoch(epoch: int) -> dict[str, float]:
        weight = next(trainer.model.parameters())
        weight.grad = torch.full_like(weight, INF)
        trainer.optimizer.step()
        return {"loss": 0.0}

    trainer._train_epoch = train_epoch
    with pytest.raises(UserError, match="this step changed no weights"):
        trainer.train()
    assert find_non_finite(trainer.model.state_dict()) == []


@pytest.mark.parametrize("policy", ["raise", "ignore"])
def test_weights_that_are_not_finite_are_never_saved_silently(
    tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An optimizer may overflow although its gradient is finite."""
    trainer = make_trainer(small_config(tmp_path, nan_policy=policy, epochs=1))
    trainer._train_epoch = lambda epoch: {"loss": 0.0}
    with torch.no_grad():
        trainer.model.classifier[2].bias[0] = NAN
    message = "values of state_dict.classifier.2.bias are not finite after 0 optimizer steps"
    if policy == "raise":
        with pytest.raises(UserError, match=re.escape(message)):
            trainer.train()
        assert list_bad(trainer.checkpoint_dir) == {}
    else:
        trainer.train()
        assert f"{message}; the checkpoint holds them" in caplog.text
        trainer.progress.step += 1
        trainer._save_checkpoint(2)
        assert caplog.text.count("the checkpoint holds them") == 1


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mask", torch.tensor([0.0, -INF]))


def make_guard(model: nn.Module) -> FiniteGuard:
    options = TrainerOptions(epochs=1)
    return FiniteGuard(model, options, NoParallel(), Progress(), logging.getLogger())


def test_infinities_that_the_model_was_made_with_are_saved() -> None:
    model = Masked()
    guard = make_guard(model)
    averaged = {"ema": {f"module.{name}": value for name, value in model.state_dict().items()}}
    state = {"state_dict": model.state_dict(), "optimizer": {}, "parts": {"update": averaged}}
    assert guard.check_state(state) is state
    state["optimizer"] = {"state": {0: {"exp_avg_sq": torch.tensor(INF)}}}
    with pytest.raises(UserError, match=r"optimizer\.state\.0\.exp_avg_sq"):
        guard.check_state(state)


def test_fp16_that_refuses_every_step_is_an_error() -> None:
    scaled = {"update": {"scaler": {"scale": 1e-9}}}
    with pytest.raises(UserError, match="fp16 leaves out the steps"):
        make_guard(Masked()).check_state({"state_dict": {}, "optimizer": {}, "parts": scaled})


@pytest.mark.parametrize(
    "gradient",
    [
        torch.tensor([1.0, NAN]),
        torch.tensor([1.0, INF], dtype=torch.bfloat16),
        torch.tensor([1.0, NAN], dtype=torch.complex64),
        torch.tensor([0.0, INF]).to_sparse(),
        torch.tensor([NAN]).expand(2),
    ],
    ids=["nan", "bf16", "complex", "sparse", "expanded"],
)
def test_gradients_of_every_kind_are_seen(gradient: torch.Tensor) -> None:
    refused: list[Any] = []
    weight = nn.Parameter(torch.ones(2, dtype=gradient.dtype))
    frozen = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight, frozen], lr=1.0)
    check = GradientCheck(refused.append)
    weight.grad = torch.ones_like(weight)
    check.check(optimizer)
    assert refused == []
    weight.grad = gradient
    check.check(optimizer)
    assert refused == [optimizer]


def test_a_grad_scaler_decides_about_its_steps() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer: Any = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.tensor([INF])
    optimizer.found_inf = torch.tensor(1.0)
    refused: list[Any] = []
    GradientCheck(refused.append).check(optimizer)
    assert refused == []


def test_gradients_on_several_devices_are_compared_on_the_accelerator() -> None:
    """A copy from there to the CPU would wait. The meta device plays the accelerator."""
    near, far = torch.tensor([NAN]), torch.ones(2, device="meta")
    assert find_in_gradients([near, far]).device.type == "meta"
    check = GradientCheck(lambda optimizer: pytest.fail("it has read the result"))
    weights = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(2, device="meta"))]
    weights[0].grad, weights[1].grad = near, far
    check.check(torch.optim.SGD(weights, lr=0.1))


@pytest.mark.parametrize("fused", [True, False])
def test_an_accelerator_counts_such_steps_and_fused_kernels_leave_them_out(
    monkeypatch: pytest.MonkeyPatch, fused: bool
) -> None:
    """A CPU plays the accelerator, whose result is not read before ``take_count``."""
    monkeypatch.setattr("base.loop.gradient_check.READ_AT_ONCE", ())
    check = GradientCheck(lambda optimizer: None)
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=fused)
    hook = optimizer.register_step_pre_hook(check.check)
    for gradient in (1.0, NAN, INF):
        weight.grad = torch.full((2,), gradient)
        optimizer.step()
    hook.remove()
    assert check.take_count() == (2, fused)
    assert check.take_count() == (0, True)
    assert bool(weight.isfinite().all()) is fused
    assert getattr(optimizer, "found_inf", None) is None
