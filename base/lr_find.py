"""``train.py --lr-find``: the loss under a rising learning rate, drawn, and which one to take."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

from logger import charts
from logger.progress import progress
from utils.batch import to_device
from utils.errors import UserError
from utils.files import written_whole
from utils.util import inf_loop

from .trial import Trial, check_loop
from .update import Update

LOW, HIGH = 1e-7, 10.0  # learning rates
STEPS = 100
WINDOW = 7  # losses on each side that are averaged with one
DIVERGED = 4.0  # times the lowest mean loss


class LrFind(Trial):
    """Stands in a RunFolder's place; leaves nothing behind but ``saved/NAME/lr-find.svg``.

    Source: the range test, Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3; to take a tenth of the rate at
    the lowest loss, Howard and Gugger 2020, "Deep Learning for Coders", chapter 5.
    """

    def __enter__(self) -> LrFind:
        self._picture = self.save_dir.parent / "lr-find.svg"
        super().__enter__()
        return self

    def first(self, loader: Any, name: str) -> Any:
        """The loader as it is: the search takes what it needs."""
        super().first(loader, name)
        return loader

    def bill(self, trainer: Any) -> str:
        """Trains with rising rates until the loss runs away; draws the curve, and tells the rate to take.

        Raises:
            UserError: the trainer's loop is one of its own, or the loss shows nothing.
        """
        check_loop(trainer, "--lr-find")
        losses = search(trainer)
        curve = smoothed(losses)
        lowest = min(curve, key=lambda point: point[1], default=(0.0, math.inf))
        noise = statistics.pstdev(loss for _, loss in losses[: 2 * WINDOW] or [(0.0, 0.0)])  # while nothing moves
        if not curve or curve[0][1] - lowest[1] <= noise:
            raise UserError("--lr-find: the loss falls at no learning rate; look at the data and the model first")
        rate = lowest[0] / 10
        series = {
            "loss": [(math.log10(lr), loss) for lr, loss in curve],
            f"suggested: {rate:.2g}": [(math.log10(rate), at(curve, rate))],
        }
        self._write(charts.standalone(charts.lines("Loss over learning rate", series, "log10 of the learning rate")))
        lines = [
            f"Learning rate: {rate:.2g}, a tenth of where the loss is lowest; tried {LOW:g} to {curve[-1][0]:.2g}."
        ]
        lines += [f"  its curve   {self._picture}", f"  to train    train.py … --lr {rate:.2g}"]
        return "\n".join(lines)

    def _write(self, picture: str) -> None:
        folder = self._picture.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(self._picture) as file:
                file.write(picture.encode())
        except OSError as error:
            raise UserError(f"{self._picture}: cannot be written: {error.strerror}") from None


def search(trainer: Any) -> list[tuple[float, float]]:
    """Learning rates, as a group without a rate of its own has them, and the loss of a batch at each."""
    options = replace(trainer._options, warmup_steps=0, ema_decay=None, nan_policy="ignore")
    update = Update(trainer.model, trainer.optimizer, options, trainer.device)
    given = [group["lr"] for group in trainer.optimizer.param_groups]
    highest = max(given)
    loader = trainer.data_loader if isinstance(trainer.data_loader, inf_loop) else inf_loop(trainer.data_loader)
    found: list[tuple[float, float]] = []
    lately: list[float] = []  # the mean of the last losses
    trainer.model.train()
    batches = progress(loader, STEPS * options.accumulation_steps, "lr-find", trainer.logger)
    for batch in batches:
        lr = LOW * (HIGH / LOW) ** (len(found) / (STEPS - 1))
        for group, own in zip(trainer.optimizer.param_groups, given, strict=True):
            group["lr"] = lr * own / highest
        with update.autocast():
            loss, _, _ = trainer.train_step(to_device(batch, trainer.device))
        update.backward(loss)
        if not update.step():
            continue
        found.append((lr, loss.item()))
        lately.append(sum(value for _, value in found[-WINDOW:]) / min(len(found), WINDOW))
        if len(found) == STEPS or not lately[-1] <= DIVERGED * min(lately[WINDOW:], default=math.inf):
            break
    return [(lr, loss) for lr, loss in found if math.isfinite(loss)]


def smoothed(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The curve with the mean of its neighbours in each loss's place; to both sides, so that it does not lag."""
    losses = [loss for _, loss in curve]
    around = [losses[max(0, place - WINDOW) : place + WINDOW + 1] for place in range(len(losses))]
    return [(lr, sum(near) / len(near)) for (lr, _), near in zip(curve, around, strict=True)]


def at(curve: list[tuple[float, float]], rate: float) -> float:
    """The loss at the first learning rate that is not below ``rate``."""
    return next(loss for lr, loss in curve if lr >= rate)
