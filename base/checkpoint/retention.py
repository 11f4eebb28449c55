"""Policies that decide which checkpoints stay in the folder.

To add one, write a class with ``find_obsolete``, and add it to ``CheckpointManager.retention``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from base.loop.progress import Tag
from utils.checkpoints import BEST, checkpoint_number, list_checkpoints


class KeepLast:
    """Keeps the newest checkpoints of the series ``checkpoint-epochN[-stepM].pt``.

    Checkpoints that are later than the one just written are deleted too. They exist if the run has
    resumed from an earlier checkpoint.

    Args:
        count: the number of checkpoints to keep; None keeps all.
    """

    def __init__(self, count: int | None) -> None:
        self.count = count

    def find_obsolete(
        self, folder: Path, written: Path, best_epochs: Sequence[Tag]
    ) -> Iterable[Path]:
        """Yields the files in ``folder`` to delete. ``written`` is the new checkpoint.

        The file ``written`` may be missing: an epoch may be saved only as one of the best.
        """
        newest = checkpoint_number(written)
        numbers = {path: checkpoint_number(path) for path in list_checkpoints(folder)}
        yield from (path for path, number in numbers.items() if number > newest)
        earlier = [path for path, number in numbers.items() if number <= newest]
        if self.count is not None:
            yield from earlier[self.count :]


class KeepBest:
    """Keeps ``model_best.pt``, and ``model_best-epochN.pt`` of each epoch among the best."""

    def find_obsolete(
        self, folder: Path, written: Path, best_epochs: Sequence[Tag]
    ) -> Iterable[Path]:
        kept = {BEST, *(best_name(tag) for tag in best_epochs)}
        found = folder.glob(BEST.replace(".", "*."))
        return (path for path in found if path.name not in kept)


def best_name(tag: Tag) -> str:
    """The file name of one of several best epochs."""
    return BEST.replace(".", f"-epoch{tag}.")
