"""How losses become optimizer steps: windows, scaling, clipping, averaging, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.update import Update
from base.options import TrainerOptions
from tests.base.loop.update_case import Case
from tests.helpers import differences, make_trainer, small_config
from utils.errors import UserError

CPU = torch.device("cpu")


# -- windows --------------------------------------------------------------------------------------

INPUTS = [[float(n), -1.0] for n in range(1, 10)]


@pytest.mark.parametrize("length", [9, None], ids=["known length", "unknown length"])
@pytest.mark.parametrize(
    ("accumulation", "steps", "means"),
    [
        (1, list(range(1, 10)), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
        (4, [4, 8, 9], [2.5, 6.5, 9.0]),
        (5, [5, 9], [3.0, 7.5]),
        (100, [9], [5.0]),
    ],
)
def test_the_optimizer_gets_the_mean_gradient_of_each_window(
    accumulation: int, steps: list[int], means: list[float], length: int | None
) -> None:
    case = Case(accumulation_steps=accumulation)
    assert case.train(INPUTS, length=length) == steps
    assert case.gradients == [pytest.approx([mean, -1.0]) for mean in means]
    assert case.progress.step == len(steps)
    assert case.weight.tolist() == pytest.approx([-sum(means), len(means)])


def test_a_batch_counts_by_its_loss_weight() -> None:
    case = Case()
    case.train([[2.0, 4.0]], weight=1.5)
    assert case.gradients == [[3.0, 6.0]]


def test_gradients_start_anew_in_every_window() -> None:
    case = Case(accumulation_steps=2)
    case.train([[1.0, 1.0]] * 6, length=6)
    assert case.gradients == [[1.0, 1.0]] * 3
    assert case.weight.grad is None


def test_an_optimizer_may_clear_gradients_in_another_way() -> None:
    class Keeping(torch.optim.SGD):
        cleared = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.cleared += 1
            super().zero_grad(set_to_none=False)

    weight = nn.Parameter(torch.zeros(1))
    optimizer = Keeping([weight], lr=1.0)
    model = nn.ParameterList([weight])
    update = Update(model, optimizer, TrainerOptions(epochs=1, accumulation_steps=2), CPU)
    for _ in range(4):
        update.backward(weight.sum())
        update.step()
    assert optimizer.cleared == 2
    assert weight.grad is not None
    assert weight.grad.item() == 0.0


# -- clipping and measuring -----------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_long_gradient_is_clipped_after_it_is_averaged_and_unscaled(precision: str) -> None:
    case = Case(precision=precision, grad_clip_norm=2.0, accumulation_steps=2)
    case.train([[6.0, 8.0]] * 2 + [[0.6, 0.8]] * 2, length=4)
    assert case.gradients == [pytest.approx([1.2, 1.6]), pytest.approx([0.6, 0.8])]
    assert case.update.grad_norm.item() == pytest.approx(1.0)  # before clipping


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_norm_of_the_gradient_is_measured_once_on_request(precision: str) -> None:
    case = Case(precision=precision)
    case.train([[3.0, 4.0]])
    assert case.update.grad_norm is None
    case.update.measure_grad_norm = True
    case.train([[6.0, 8.0], [0.3, 0.4]])
    assert case.update.grad_norm.item() == pytest.approx(10.0)
    assert case.gradients[-2:] == [pytest.approx([6.0, 8.0]), pytest.approx([0.3, 0.4])]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_each_number_of_a_gradient_is_clipped_after_it_is_averaged_and_unscaled(
    precision: str,
) -> None:
    case = Case(precision=precision, grad_clip_value=2.0, accumulation_steps=2)
    case.train([[6.0, -8.0], [0.0, -8.0]] + [[0.6, 0.8]] * 2, length=4)
    assert case.gradients == [[2.0, -2.0], [pytest.approx(0.6), pytest.approx(0.8)]]
    assert case.update.grad_norm is None
    case.update.measure_grad_norm = True
    case.train([[3.0, 4.0]] * 2, length=2)
    assert case.update.grad_norm.item() == pytest.approx(5.0)  # before clipping


# -- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_forward_pass_runs_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    update = Case(precision=precision).update
    for context in (update.forward_context(3), update.autocast()):
        with context:
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert update.scaler.is_enabled() == (precision == "fp16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns(tmp_path: Any, precision: str) -> None:
    config = small_config(tmp_path, epochs=6, precision=precision, grad_clip_norm=1.0)
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.last_log["val_accuracy"] > 0.8
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_a_step_whose_gradients_overflow_moves_neither_weights_nor_schedule() -> None:
    case = Case(precision="fp16", lr_scheduler_interval="step")
    schedule = torch.optim.lr_scheduler.StepLR(case.optimizer, 1, 0.5)
    case.update.schedule.lr_scheduler = schedule
    scale = case.update.scaler.get_scale()
    case.train([[1e36, 1.0]])
    assert (case.weight.tolist(), schedule.last_epoch) == ([0.0, 0.0], 0)
    assert case.update.scaler.get_scale() == scale / 2
    case.train([[2.0, 1.0]])
    assert (case.weight.tolist(), schedule.last_epoch) == ([-2.0, -1.0], 1)


# -- the moving average ---------------------------------------------------------------------------


def test_the_moving_average_is_that_of_its_formula(tmp_path: Any) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1, ema_decay=0.9))
    history: list[torch.Tensor] = []
    name = "classifier.2.bias"
    bias = trainer.model.get_parameter(name)
    trainer.optimizer.register_step_post_hook(lambda *_: history.append(bias.detach().clone()))
    log = trainer._train_epoch(1)
    average = history[0]
    for value in history[1:]:
        average = 0.9 * average + 0.1 * value
    assert len(history) == 9
    torch.testing.assert_close(trainer.update.ema.module.state_dict()[name], average)
    assert log["val_ema_accuracy"] != log["val_accuracy"]


def test_the_moving_average_leaves_out_a_step_whose_gradients_overflow() -> None:
    """Else it would begin with the random weights, because fp16 starts with such steps."""
    case = Case((5.0, 5.0), precision="fp16", ema_decay=0.5)
    case.train([[1e36, 1.0], [1.0, 2.0], [1e36, 1.0]])
    assert case.update.ema.module.weight.tolist() == case.weight.tolist() == [4.0, 3.0]
    case.train([[1.0, 2.0]])
    assert case.update.ema.module.weight.tolist() == [3.5, 2.0]


def test_the_moving_average_follows_once_for_each_window() -> None:
    case = Case(accumulation_steps=4, ema_decay=0.5)
    case.train(INPUTS, length=9)
    assert int(case.update.ema.n_averaged) == 3


@pytest.mark.parametrize("options", [{"ema_decay": 0.5}, {"precision": "fp16"}, {}])
def test_an_update_continues_from_its_state(options: dict[str, Any]) -> None:
    full, first = Case(**options), Case(**options)
    inputs = [[1e36, 1.0], [1.0, 2.0], [3.0, 4.0]]
    full.train(inputs)
    first.train(inputs[:2])
    second = Case(first.weight.tolist(), **options)
    second.update.load_state_dict(first.update.state_dict())
    second.train(inputs[2:])
    assert full.weight.tolist() == second.weight.tolist()
    assert differences(full.update.state_dict(), second.update.state_dict()) == []


# -- what is refused ------------------------------------------------------------------------------


def test_an_optimizer_that_needs_the_loss_several_times_is_refused() -> None:
    optimizer = torch.optim.LBFGS([nn.Parameter(torch.zeros(1))])
    with pytest.raises(UserError, match=r"optimizer\.type: LBFGS evaluates the loss several"):
        Update(nn.Linear(1, 1), optimizer, TrainerOptions(epochs=1), CPU)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda weight: weight * 2, r"\(2,\)"),
        (lambda weight: 3.0, "float"),
        (lambda weight: None, "NoneType"),
        (lambda weight: weight[:0], r"\(0,\)"),
    ],
)
def test_a_loss_that_is_not_one_number_is_refused(make: Callable[..., Any], found: str) -> None:
    case = Case()
    with pytest.raises(UserError, match=f"the loss must be one number, not {found}; take its mean"):
        case.update.backward(make(case.weight))


@pytest.mark.parametrize("bad", [nan, inf])
def test_a_loss_that_is_not_finite_is_an_error_before_it_does_harm(bad: float) -> None:
    case = Case()
    case.train([[1.0, 1.0]] * 2)
    message = (
        rf"^the loss is -?{bad} after 2 optimizer steps; this batch changed no weights\. Lower "
    )
    with pytest.raises(UserError, match=message):
        case.train([[bad, 1.0]])
    assert case.weight.tolist() == [-2.0, -2.0]
    assert case.weight.grad is None


def test_an_infinite_loss_is_trained_on_if_it_is_to_be_ignored() -> None:
    case = Case(nan_policy="ignore")
    assert case.train([[inf, 1.0]]) == [1]
    assert case.weight.tolist() == [-inf, -1.0]


def test_a_model_with_layers_on_an_accelerator_has_its_losses_read_later() -> None:
    """Its inputs may be on the CPU. The meta device plays the accelerator."""
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1, device="meta")])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert Update(model, optimizer, TrainerOptions(epochs=1), CPU).checks_later
    assert not Case().update.checks_later


@pytest.mark.parametrize("look", ["check_losses", "flush", "state_dict"])
def test_the_losses_of_an_accelerator_are_looked_at_later(look: str) -> None:
    """Each look would wait for the device."""
    case = Case((1.0, 1.0), device="cuda")  # the tensors are on the CPU
    for x in (1.0, nan, 1.0):
        case.update.backward(case.weight.sum() * x)
    message = "the loss is nan after 0 optimizer steps; resume from the newest checkpoint"
    with pytest.raises(UserError, match=message):
        getattr(case.update, look)()
    case.update.check_losses()  # each loss once


def test_a_damaged_state_of_the_optimizer_is_an_error() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight])
    update = Update(nn.ParameterList([weight]), optimizer, TrainerOptions(epochs=1), CPU)
    update.backward(weight.sum())
    update.step()
    del optimizer.state[weight]["exp_avg"]
    update.backward(weight.sum())
    with pytest.raises(UserError, match="the optimizer's state has no 'exp_avg': the checkpoint"):
        update.step()
