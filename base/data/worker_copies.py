"""Restarts persistent workers when their copies of the dataset are out of date."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader

from base.data.fingerprint import fingerprint
from base.data.worker_processes import stop_workers


class WorkerCopies:
    """Remembers the content of the dataset that the workers of a loader have copied.

    A dataset that is too large to compare counts as changed. It is not looked at again, because
    that would take up to a second.
    """

    def __init__(self) -> None:
        self._fingerprint: bytes | None = None
        self._is_too_large = False

    def differ(self, source: Any) -> bool:
        """Whether the copies differ from ``source``, or may do so."""
        found = self._get_fingerprint(source)
        return found is None or found != self._fingerprint

    def refresh(self, source: Any, loader: DataLoader[Any]) -> None:
        """Ends the workers if their copies differ. The next pass starts new ones."""
        before, self._fingerprint = self._fingerprint, self._get_fingerprint(source)
        if self._fingerprint is None or self._fingerprint != before:
            stop_workers(loader)

    def _get_fingerprint(self, source: Any) -> bytes | None:
        found = None if self._is_too_large else fingerprint(source)
        self._is_too_large = found is None
        return found


_known: WeakKeyDictionary[DataLoader[Any], WorkerCopies] = WeakKeyDictionary()


def refresh_workers(loader: Any) -> None:
    """Gives the persistent workers of a loader of any class copies of the present dataset."""
    if isinstance(loader, DataLoader) and loader.num_workers > 0 and loader.persistent_workers:
        copies = _known.setdefault(loader, WorkerCopies())
        copies.refresh((loader.dataset, loader.collate_fn), loader)
