"""Which checkpoints stay in the folder.

A new policy is a class in a file of its own, and an entry in ``CheckpointManager.retention``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from base.checkpoint.file import duplicate
from utils.checkpoints import BEST, checkpoint_number, list_checkpoints


class KeepLast:
    """Keeps the newest checkpoints of the series ``checkpoint-epochN[-stepM].pt``.

    Later checkpoints than the one just written are deleted: the run has gone back, and the rest
    of its old course is void.

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


def restore_best(folder: Path, epoch: int) -> None:
    """Makes ``model_best.pt`` that of ``epoch``: a killed run may not have written it.

    A run that goes back to an earlier checkpoint has a later one.
    """
    for name in (best_name(epoch), f"checkpoint-epoch{epoch}.pt"):
        if (folder / name).is_file():
            duplicate(folder / name, folder / BEST)
            return
