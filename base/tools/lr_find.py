"""``train.py --lr-find``: draws the loss over rising learning rates, and suggests a rate."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from base.base_trainer import BaseTrainer
from base.loop.several_optimizers import list_learning_rates
from base.tools.charts import LineChart, draw_lines, to_svg
from base.tools.trial import Trial, as_step_trainer, cycle_batches, make_step
from logger.progress import progress
from utils.errors import UserError
from utils.files import write_text

LOWEST_RATE, HIGHEST_RATE = 1e-7, 10.0
STEPS = 100
NEIGHBOURS = 7  # losses on each side of one that are averaged with it
DIVERGED_FACTOR = 4.0  # of the lowest mean loss; a higher one ends the search

Curve = list[tuple[float, float]]  # learning rates, and the loss of a batch at each


def run(config: Any, make_trainer: Callable[..., BaseTrainer]) -> None:
    """Trains with rising rates until the loss diverges, and prints a suggestion.

    Leaves ``saved/NAME/lr-find.svg``. Sources: the range test, Smith 2017,
    https://arxiv.org/abs/1506.01186, section 3.3; taking a tenth of the rate with the lowest loss,
    Howard and Gugger 2020, "Deep Learning for Coders", chapter 5.

    Raises:
        UserError: the trainer has a loop of its own, or no rate lowers the loss.
    """
    trial = Trial(config)
    with trial.running():
        trainer = trial.make(make_trainer)
        print(suggest_rate(trainer, trial.home / "lr-find.svg"))


def suggest_rate(trainer: BaseTrainer, picture: Path) -> str:
    """Records the losses, draws them into ``picture``, and returns the suggestion as text."""
    losses = record_losses(trainer)
    curve = smooth(losses)
    # The first rates are too low to change the loss, so the first losses differ by noise only.
    noise = statistics.pstdev(loss for _, loss in losses[: 2 * NEIGHBOURS] or [(0.0, 0.0)])
    lowest = min(curve, key=lambda point: point[1], default=(0.0, math.inf))
    if not curve or curve[0][1] - lowest[1] <= noise:
        raise UserError(
            "--lr-find: no learning rate lowers the loss; check the data and the model first"
        )
    rate = lowest[0] / 10
    loss_there = next(loss for lr, loss in curve if lr >= rate)
    series = {"loss": curve, f"suggested: {rate:.2g}": [(rate, loss_there)]}
    chart = LineChart("Loss over learning rate", series, "learning rate", log_x=True)
    path = write_text(picture, to_svg(draw_lines([chart]), is_standalone=True))
    tried = f"{LOWEST_RATE:g} to {curve[-1][0]:.2g}"
    return "\n".join(
        [
            f"Learning rate: {rate:.2g}, a tenth of the rate with the lowest loss; tried {tried}.",
            f"  its curve   {path}",
            f"  to train    train.py … {format_rate(trainer.config, rate)}",
        ]
    )


def format_rate(config: Any, rate: float) -> str:
    """The arguments of train.py that set a rate; of several optimizers, it is the highest one."""
    if not isinstance(config["optimizer"], list):
        return f"--lr {rate:.2g}"
    rates = list_learning_rates(config)
    return " ".join(f"{key}={rate * lr / max(rates.values()):.2g}" for key, lr in rates.items())


def record_losses(trainer: BaseTrainer) -> Curve:
    """Trains with rising rates. The rates in the curve are the highest of all parameter groups."""
    step = make_step(as_step_trainer(trainer, "--lr-find"))
    loader = cycle_batches(trainer.data_loader)
    groups = trainer.optimizer.param_groups
    ratios = [group["lr"] / max(group["lr"] for group in groups) for group in groups]
    found: Curve = []
    means: list[float] = []  # of the last losses, at each rate
    batches = STEPS * trainer.trainer_options.accumulation_steps
    for batch in progress(loader, batches, "lr-find", trainer.logger):
        lr = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (len(found) / (STEPS - 1))
        for group, ratio in zip(groups, ratios, strict=True):
            group["lr"] = lr * ratio
        if (loss := step(batch)) is None:
            continue
        found.append((lr, loss.item()))
        means.append(statistics.fmean(value for _, value in found[-NEIGHBOURS:]))
        has_diverged = not means[-1] <= DIVERGED_FACTOR * min(means[NEIGHBOURS:], default=math.inf)
        if len(found) == STEPS or has_diverged:
            break
    return [(lr, value) for lr, value in found if math.isfinite(value)]


def smooth(curve: Curve) -> Curve:
    """Averages each loss with its neighbours on both sides, so that the curve has no lag."""
    losses = [loss for _, loss in curve]
    smoothed = []
    for index, (lr, _) in enumerate(curve):
        near = losses[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        smoothed.append((lr, statistics.fmean(near)))
    return smoothed
