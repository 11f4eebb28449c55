"""Row 10: a loss that is not finite leaves the optimizer, the weights and the best model."""

from __future__ import annotations

import itertools
import time
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint.snapshot import copy_to_cpu
from tests.helpers import differences, load, make_trainer, small_config
from tests.torture.harness import ALL, report
from utils.errors import UserError

BATCHES = 9  # of an epoch
POLICIES = ("raise", "ignore")
CASES = list(itertools.product(POLICIES, (nan, inf), (1, 4), (BATCHES, BATCHES + 3)))


def make_faulty(config: dict[str, Any], factor: float, bad_batch: int) -> tuple[Any, list[str]]:
    """Multiplies the loss of one batch, counted from 0, by ``factor``.

    Returns:
        The trainer, and a list that gets what the backward pass of this batch changes.
    """
    trainer = make_trainer(config, "run")
    backward, numbers, changes = trainer.update.backward, itertools.count(), []

    def copy_state() -> dict[str, Any]:
        weights = dict(trainer.model.named_parameters())
        gradients = {name: weight.grad for name, weight in weights.items()}
        state = {"optimizer": trainer.optimizer.state_dict(), "update": trainer.update.state_dict()}
        return copy_to_cpu(state | {"weights": weights, "gradients": gradients})

    def watch(loss: torch.Tensor, *args: Any) -> None:
        if next(numbers) != bad_batch:
            backward(loss, *args)
            return
        before = copy_state()
        try:
            backward(loss * factor, *args)
        finally:
            changes.extend(differences(before, copy_state()))

    trainer.update.backward = watch
    return trainer, changes


def is_finite(tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values())


def check_case(folder: Path, policy: str, factor: float, window: int, bad_batch: int) -> None:
    """A bad loss in the second epoch."""
    options = {"nan_policy": policy, "accumulation_steps": window, "ema_decay": 0.9}
    config = small_config(folder, epochs=3, monitor="min val_loss", **options)
    trainer, changes = make_faulty(config, factor, bad_batch)
    if policy == "raise":
        with pytest.raises(UserError, match=r"the loss is .* optimizer steps; this batch changed"):
            trainer.train()
        assert changes == []
        check_resumes(config, trainer.checkpoint_dir)
        return
    trainer.train()
    best = load(trainer.checkpoint_dir / "model_best.pt")
    assert isfinite(best["monitor_best"])
    assert is_finite(best["state_dict"])
    assert changes != []  # the gradients; the step is left out
    assert is_finite(trainer.model.state_dict())


def check_resumes(config: dict[str, Any], folder: Path) -> None:
    """The run has the checkpoint before the bad loss, and resumes to the bits of a good run."""
    assert load(folder / "model_best.pt")["epoch"] == 1
    assert [path.name for path in folder.glob("c*.pt")] == ["checkpoint-epoch1.pt"]
    good = make_trainer(config, "good")
    good.train()
    make_trainer(config, resume=folder / "checkpoint-epoch1.pt").train()
    ends = [load(path / "checkpoint-epoch3.pt") for path in (folder, good.checkpoint_dir)]
    assert differences(*ends) == []


def test_a_loss_that_is_not_finite_changes_nothing_that_is_kept(tmp_path: Path) -> None:
    make_trainer(small_config(tmp_path), "first")  # its imports draw random numbers
    cases, failures = CASES if ALL else CASES[::3], []
    start = time.monotonic()
    for number, case in enumerate(cases):
        try:
            check_case(tmp_path / str(number), *case)
        except (AssertionError, UserError) as error:
            failures.append((case, str(error)[:300]))
    report(10, "a loss that is NaN or infinite at a step", len(cases), failures, start)


@pytest.mark.parametrize("bad_batch", [1, BATCHES + 1])
def test_nan_in_the_data_reaches_no_checkpoint(tmp_path: Path, bad_batch: int) -> None:
    """The forward pass has changed the running statistics of batch norms before the loss is bad."""
    trainer = make_trainer(small_config(tmp_path, epochs=2))
    forward, numbers = trainer.forward, itertools.count()

    def forward_nan(model: Any, batch: Any) -> Any:
        if model.training and next(numbers) == bad_batch:
            batch = [torch.full_like(batch[0], nan), batch[1]]
        return forward(model, batch)

    trainer.forward = forward_nan
    with pytest.raises(UserError, match="the loss is nan"):
        trainer.train()
    assert not is_finite(trainer.model.state_dict())
    states = [load(path) for path in trainer.checkpoint_dir.glob("*.pt")]
    assert all(state["epoch"] == 1 and is_finite(state["state_dict"]) for state in states)
    assert bool(states) == (bad_batch > BATCHES)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_not_finite_is_never_the_best(
    tmp_path: Path, mode: str, bad: float
) -> None:
    config = small_config(tmp_path, epochs=3, monitor=f"{mode} val_loss", keep_best=2)
    trainer = make_trainer(config)
    values = iter([1.0, bad, bad])
    trainer._train_epoch = lambda epoch: {"val_loss": next(values)}
    trainer.train()
    state = load(trainer.checkpoint_dir / "model_best.pt")
    assert (state["epoch"], state["monitor_best"], trainer.mnt_best) == (1, 1.0, 1.0)
    names = sorted(path.name for path in trainer.checkpoint_dir.glob("model*"))
    assert names == ["model_best-epoch1.pt", "model_best.pt"]
