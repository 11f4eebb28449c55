"""A loss that is not finite, under each policy: the optimizer, the weights and the best stay as they are."""

from __future__ import annotations

import itertools
import os
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint.manager import snapshot
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

ALL = os.environ.get("TORTURE") == "all"
BATCHES = 9  # an epoch
CASES = list(
    itertools.product(("raise", "skip", "ignore"), (nan, inf), (1, 4), (BATCHES, BATCHES + 3))
)


def faulty(
    config: dict[str, Any], run_id: str, bad: float, places: set[int]
) -> tuple[Any, list[str]]:
    """A trainer whose loss is multiplied by ``bad`` at the batches of ``places``; and what those changed."""
    trainer = make_trainer(config, run_id)
    backward, seen, changed = trainer.update.backward, itertools.count(), []

    def moved() -> dict[str, Any]:
        weights = dict(trainer.model.named_parameters())
        gradients = {
            name: weight.grad for name, weight in weights.items() if weight.grad is not None
        }
        ema = trainer.update.state_dict()["ema"]
        return snapshot(
            {"w": weights, "g": gradients, "o": trainer.optimizer.state_dict(), "ema": ema}
        )

    def watched(loss: torch.Tensor, *args: Any) -> bool:
        if next(seen) not in places:
            return backward(loss, *args)
        before = moved()
        try:
            return backward(loss * bad, *args)
        finally:
            changed.extend(differences(before, moved()))

    trainer.update.backward = watched
    return trainer, changed


def check(folder: Path, policy: str, bad: float, window: int, place: int) -> None:
    config = small_config(
        folder,
        epochs=3,
        nan_policy=policy,
        accumulation_steps=window,
        monitor="min val_loss",
        ema_decay=0.9,
    )
    trainer, changed = faulty(config, "run", bad, {place})
    best = trainer.checkpoint_dir / "model_best.pt"
    if policy == "raise":
        with pytest.raises(UserError, match=r"the loss is .* the weights were not moved"):
            trainer.train()
        assert changed == []
        assert load(best)["epoch"] == 1
        assert sorted(path.name for path in trainer.checkpoint_dir.glob("c*.pt")) == [
            "checkpoint-epoch1.pt"
        ]
        good, _ = faulty(config, "good", 1.0, set())
        good.train()
        resumed = make_trainer(config, resume=trainer.checkpoint_dir / "checkpoint-epoch1.pt")
        resumed.train()
        last = "checkpoint-epoch3.pt"
        assert (
            differences(load(trainer.checkpoint_dir / last), load(good.checkpoint_dir / last)) == []
        )
        return
    trainer.train()
    state = load(best)
    assert isfinite(state["monitor_best"])
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    if policy == "skip":
        assert (changed, trainer.update.skipped) == ([], 1)
        assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
        a_window = -(-BATCHES // window)  # steps an epoch
        assert trainer.update.steps == 3 * a_window - (window == 1)
    else:
        assert changed != []
        assert not all(torch.isfinite(value).all() for value in trainer.model.parameters())
        assert state["epoch"] == 1


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    make_trainer(
        small_config(tmp_path), "first"
    )  # its imports draw random numbers once in a process
    cases, failures = CASES if ALL else CASES[::3], []
    for number, case in enumerate(cases):
        try:
            check(tmp_path / str(number), *case)
        except (AssertionError, UserError) as error:
            failures.append((case, str(error)[:300]))
    print(
        f"row 10: a loss that is NaN or infinite at a step, {len(cases)} times, {len(failures)} failures"
    )
    assert failures == []


def test_a_skipped_batch_of_a_window_counts_as_one_without_gradient(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1, nan_policy="skip", accumulation_steps=4)
    weights = []
    for bad in (nan, 0.0):
        trainer, _ = faulty(config, f"run{bad}", bad, {1})
        trainer.train()
        weights.append(dict(trainer.model.named_parameters()))
    assert differences(*weights) == []


def test_a_window_of_which_all_is_skipped_does_not_step(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1, nan_policy="skip", accumulation_steps=4)
    trainer, changed = faulty(config, "run", nan, {4, 5, 6, 7})
    trainer.train()
    assert (trainer.update.steps, trainer.update.skipped, changed) == (2, 4, [])


@pytest.mark.parametrize("place", [1, BATCHES - 1])
def test_nan_in_the_data_spoils_nothing_that_is_kept(tmp_path: Path, place: int) -> None:
    """Batch norm's running statistics too are what is evaluated and saved."""
    config = small_config(tmp_path, epochs=1, nan_policy="skip")
    trainer = make_trainer(config)
    forward, seen = trainer.forward, itertools.count()

    def poisoned(model: Any, batch: Any) -> Any:
        if model.training and next(seen) == place:
            batch = [torch.full_like(batch[0], nan), batch[1]]
        return forward(model, batch)

    trainer.forward = poisoned
    trainer.train()
    assert trainer.update.skipped == 1
    state = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["state_dict"]
    assert [name for name, value in state.items() if not torch.isfinite(value).all()] == []


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_is_never_overwritten_by_a_metric_that_is_not_finite(
    tmp_path: Path, mode: str, bad: float
) -> None:
    trainer = make_trainer(
        small_config(tmp_path, epochs=3, monitor=f"{mode} val_loss", keep_best=2)
    )
    values = iter([1.0, bad, bad])
    trainer._train_epoch = lambda epoch: {"val_loss": next(values)}
    trainer.train()
    state = load(trainer.checkpoint_dir / "model_best.pt")
    assert (state["epoch"], state["monitor_best"], trainer.mnt_best) == (1, 1.0, 1.0)
    assert sorted(path.name for path in trainer.checkpoint_dir.glob("model*")) == [
        "model_best-epoch1.pt",
        "model_best.pt",
    ]


def test_an_accelerators_losses_are_looked_at_together_and_before_a_checkpoint(
    tmp_path: Path,
) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    update, loss = trainer.update, next(trainer.model.parameters()).sum()
    update._waits_to_look = True  # as for any device that is not the CPU
    for look in (update.state_dict, update.flush, update.check_losses):
        update.backward(loss * 0)
        update.backward(torch.tensor(float("nan"), requires_grad=True))
        with pytest.raises(UserError, match=r"the loss is nan .* go on from the newest checkpoint"):
            look()
    update.state_dict()  # once told, it is done with
    update.backward(torch.tensor([float("inf")], requires_grad=True))
    with pytest.raises(UserError, match="the loss is inf"):
        trainer.log_train(loss)
