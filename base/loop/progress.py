"""The position of a run, and the best value so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, NamedTuple

Tag = int | str  # names a validation or a checkpoint: 3 after epoch 3, "3-step500" inside it


@dataclass
class Progress:
    """The position of a run. A run has no other counters.

    Attributes:
        epoch: the number of the current or next epoch, from 1.
        batch: the number of batches that the loop has taken in this epoch.
        step: the number of optimizer steps in the run.
        is_validating: whether the run is at a validation inside an epoch, which a resume repeats.
        has_steps: whether the loop has called ``after_step``.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    is_validating: bool = False
    has_steps: bool = False

    def finish_epoch(self, epoch: int) -> None:
        """Moves to the start of the epoch after ``epoch``."""
        self.epoch, self.batch = epoch + 1, 0

    def count_steps(self, len_epoch: int | None) -> int:
        """The optimizer steps so far, or the batches if the loop does not count its steps."""
        return self.step or (self.epoch - 1) * (len_epoch or 0) + self.batch

    def get_tag(self, len_epoch: int | None) -> str:
        """Names the position inside the epoch."""
        return f"{self.epoch}-step{self.count_steps(len_epoch)}"


class Verdict(NamedTuple):
    """The result of comparing an epoch with the earlier ones."""

    is_best: bool  # the monitored value is the best so far
    is_kept: bool  # the epoch is among the `keep_best` best
    stop: bool  # the value has not improved for longer than the patience


class Monitor:
    """Follows one number over the epochs.

    Args:
        mode: ``min``, ``max``, or ``off`` to follow nothing.
        metric: the name of the number, such as ``val_loss``.
        patience: epochs without improvement that are tolerated; ``inf`` never stops.
        keep_best: the number of best epochs to remember.

    Attributes:
        best: the best value so far.
        not_improved_count: the number of epochs since the best one.
        best_epochs: pairs ``(value, tag)`` of the best epochs, the best first. A validation inside
            an epoch counts as one.
    """

    def __init__(self, mode: str, metric: str, patience: float = inf, keep_best: int = 1) -> None:
        self.mode, self.metric = mode, metric
        self.patience, self.keep_best = patience, keep_best
        self.best = {"min": inf, "max": -inf}.get(mode, 0.0)
        self.not_improved_count = 0
        self.best_epochs: list[tuple[float, Tag]] = []

    @property
    def is_on(self) -> bool:
        return self.mode != "off"

    @property
    def is_exhausted(self) -> bool:
        """Whether the patience is used up."""
        return self.not_improved_count > self.patience

    def list_best_epochs(self) -> list[Tag]:
        """The tags of the ``keep_best`` best epochs, the best first."""
        return [epoch for _, epoch in self.best_epochs]

    def update(self, log: dict[str, Any], tag: Tag | None = None) -> Verdict:
        """Compares the numbers of the epoch ``log["epoch"]``, or at ``tag``, with earlier ones.

        An epoch whose value is not finite counts as one without improvement.
        """
        value = log.get(self.metric)
        if not self.is_on or value is None:
            return Verdict(is_best=False, is_kept=False, stop=self.is_exhausted)
        is_best = is_kept = False
        if isfinite(self.best) and all(best != self.best for best, _ in self.best_epochs):
            self._rank(self.best, 0)  # a project has set `mnt_best`; its epoch is unknown
        if isfinite(value):
            is_kept = self._rank(value, log["epoch"] if tag is None else tag)
            is_best = is_better(self.mode, value, self.best)
        if is_best:
            self.best = value
            self.not_improved_count = 0
        else:
            self.not_improved_count += 1
        return Verdict(is_best, is_kept, stop=self.is_exhausted)

    def _rank(self, value: float, tag: Tag) -> bool:
        """Inserts an epoch into the ranking; returns whether it is among the best."""
        rank = sum(not is_better(self.mode, value, other) for other, _ in self.best_epochs)
        self.best_epochs.insert(rank, (value, tag))
        del self.best_epochs[self.keep_best :]
        return rank < self.keep_best

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor_best": float(self.best),
            "not_improved_count": self.not_improved_count,
            "best": [[value, tag] for value, tag in self.best_epochs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state, of which pytorch-template's checkpoints hold only the best value."""
        self.best = state.get("monitor_best", self.best)
        self.not_improved_count = state.get("not_improved_count", 0)
        known = [[self.best, 0]] if self.is_on and isfinite(self.best) else []
        self.best_epochs = [(float(value), tag) for value, tag in state.get("best", known)]


def is_better(mode: str, value: float, best: float) -> bool:
    """Whether ``value`` is strictly better than ``best``; False for a NaN."""
    return value < best if mode == "min" else value > best
