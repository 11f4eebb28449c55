"""Warns of boxes and labels that a detector accepts, but does not learn from."""

from __future__ import annotations

from typing import Any

from base.data.boxes import is_detector, list_traps
from base.loop.watcher import WatchedTrainer, Watcher
from utils.batch import find_target


class BoxTraps(Watcher):
    """Looks at the targets in the first batch of each epoch, and warns once of each trap.

    Args:
        trainer: of a detector of torchvision.
    """

    def __init__(self, trainer: WatchedTrainer) -> None:
        self.trainer = trainer
        self._shown: set[str] = set()

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> BoxTraps | None:
        return cls(trainer) if is_detector(trainer.parallel.unwrap(trainer.model)) else None

    def train_batch(self, batch: Any) -> None:
        targets = find_target(batch)
        if not isinstance(targets, list | tuple):
            return
        model = self.trainer.parallel.unwrap(self.trainer.model)
        for trap in list_traps(model, targets):
            if trap not in self._shown:
                self._shown.add(trap)
                self.trainer.logger.warning("data_loader: %s.", trap)
