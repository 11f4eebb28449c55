"""``train.py --lr-find``: the loss under a rising learning rate, drawn, and which one to take."""

from __future__ import annotations

import math
import statistics
from typing import Any

from base.tools.charts import LineChart, draw_lines, to_svg
from base.tools.check import Trial, rounds, steps_of
from base.tools.report import write_text
from logger.progress import progress
from utils.errors import UserError

LOW, HIGH = 1e-7, 10.0  # learning rates
STEPS = 100
WINDOW = 7  # losses on each side that are averaged with one
DIVERGED = 4.0  # times the lowest mean loss


class LrFind(Trial):
    """Stands in a RunFolder's place; leaves nothing behind but ``saved/NAME/lr-find.svg``.

    Source: the range test, Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3; to take a tenth of the rate at
    the lowest loss, Howard and Gugger 2020, "Deep Learning for Coders", chapter 5.
    """

    def first(self, loader: Any, name: str) -> Any:
        """The loader as it is: the search takes what it needs."""
        super().first(loader, name)
        return loader

    def bill(self, trainer: Any) -> str:
        """Trains with rising rates until the loss runs away; draws the curve, and tells the rate to take.

        Raises:
            UserError: the trainer's loop is one of its own, or the loss shows nothing.
        """
        losses = search(trainer)
        curve = smoothed(losses)
        lowest = min(curve, key=lambda point: point[1], default=(0.0, math.inf))
        noise = statistics.pstdev(
            loss for _, loss in losses[: 2 * WINDOW] or [(0.0, 0.0)]
        )  # while nothing moves
        if not curve or curve[0][1] - lowest[1] <= noise:
            raise UserError(
                "--lr-find: the loss falls at no learning rate; look at the data and the model first"
            )
        rate = lowest[0] / 10
        suggested = (rate, next(loss for lr, loss in curve if lr >= rate))
        series = {"loss": curve, f"suggested: {rate:.2g}": [suggested]}
        chart = LineChart("Loss over learning rate", series, "learning rate", log_x=True)
        svg = to_svg(draw_lines([chart]), is_standalone=True)
        picture = write_text(self.home / "lr-find.svg", svg)
        lines = [
            f"Learning rate: {rate:.2g}, a tenth of where the loss is lowest; tried {LOW:g} to {curve[-1][0]:.2g}."
        ]
        lines += [f"  its curve   {picture}", f"  to train    train.py … --lr {rate:.2g}"]
        return "\n".join(lines)


def search(trainer: Any) -> list[tuple[float, float]]:
    """Learning rates, as a group without a rate of its own has them, and the loss of a batch at each."""
    loader, learn = rounds(trainer, "--lr-find"), steps_of(trainer)
    given = [group["lr"] for group in trainer.optimizer.param_groups]
    highest = max(given)
    found: list[tuple[float, float]] = []
    lately: list[float] = []  # the mean of the last losses
    for batch in progress(
        loader, STEPS * trainer._options.accumulation_steps, "lr-find", trainer.logger
    ):
        lr = LOW * (HIGH / LOW) ** (len(found) / (STEPS - 1))
        for group, own in zip(trainer.optimizer.param_groups, given, strict=True):
            group["lr"] = lr * own / highest
        if (loss := learn(batch)) is None:
            continue
        found.append((lr, loss.item()))
        lately.append(sum(value for _, value in found[-WINDOW:]) / min(len(found), WINDOW))
        if len(found) == STEPS or not lately[-1] <= DIVERGED * min(
            lately[WINDOW:], default=math.inf
        ):
            break
    return [(lr, value) for lr, value in found if math.isfinite(value)]


def smoothed(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The curve with the mean of its neighbours in each loss's place; to both sides, so that it does not lag."""
    losses = [loss for _, loss in curve]
    around = [losses[max(0, place - WINDOW) : place + WINDOW + 1] for place in range(len(losses))]
    return [(lr, sum(near) / len(near)) for (lr, _), near in zip(curve, around, strict=True)]
