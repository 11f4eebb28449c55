"""Which checkpoints stay.

A new way to keep them is one class, in a file of its own, and one line in ``CheckpointManager``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from utils.checkpoints import BEST, checkpoint_number, list_checkpoints


class KeepLast:
    """Keeps the newest checkpoints of the series ``checkpoint-epochN[-stepM].pt``.

    Checkpoints later than the one just written go too: the run has gone back to before them, and
    is another one now.

    Args:
        count: how many stay; None keeps all.
    """

    def __init__(self, count: int | None) -> None:
        self.count = count

    def find_obsolete(self, folder: Path, written: Path, best_epochs: list[int]) -> Iterable[Path]:
        """The files in ``folder`` to delete after ``written``, which need not exist."""
        newest = checkpoint_number(written)
        numbers = {path: checkpoint_number(path) for path in list_checkpoints(folder)}
        yield from (path for path, number in numbers.items() if number > newest)
        earlier = [path for path, number in numbers.items() if number <= newest]
        if self.count is not None:
            yield from earlier[self.count :]


class KeepBest:
    """Keeps ``model_best.pt``, and ``model_best-epochN.pt`` of each epoch among the best."""

    def find_obsolete(self, folder: Path, written: Path, best_epochs: list[int]) -> Iterable[Path]:
        kept = {BEST, *(best_name(epoch) for epoch in best_epochs)}
        found = folder.glob(BEST.replace(".", "*."))
        return (path for path in found if path.name not in kept)


def best_name(epoch: int) -> str:
    """The file of one of several best epochs."""
    return BEST.replace(".", f"-epoch{epoch}.")
