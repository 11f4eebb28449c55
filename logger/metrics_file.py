"""metrics.jsonl: one line of numbers for every epoch. A resumed run continues the file.

A validation inside an epoch has a line too, with the number of batches so far as ``batch``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from pathlib import Path
from typing import Any

from logger.background import Background
from utils.files import atomic_write


def parse_metrics(text: str) -> list[dict[str, Any]]:
    """Returns the epochs in the text of a metrics.jsonl; skips lines that are not an epoch."""
    rows = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("epoch"), int)]


class MetricsFile:
    """Appends a JSON object for every epoch. NaN and infinity, which JSON lacks, become null.

    If the disk fails or hangs, there is one warning, and no further line is written.

    Args:
        path: the file.
        logger: gets the warning.
        enabled: if False, every method does nothing.
    """

    def __init__(
        self, path: Path, logger: logging.Logger | None = None, enabled: bool = True
    ) -> None:
        self.path = path
        self._background = Background(path.name, logger or logging.getLogger("metrics"))
        self._background.enabled = enabled

    def write(self, values: dict[str, Any]) -> None:
        """Appends a line. It is in the file on return, because a checkpoint may follow."""
        row = {key: _finite_or_none(value) for key, value in values.items()}
        self._background.submit("write", lambda: self._append(json.dumps(row, default=str) + "\n"))
        self._background.wait()

    def drop_after(self, epoch: int, batch: int = 0) -> None:
        """Deletes the lines that the run writes again, and any torn line.

        Those of validations in the next epoch stay, up to its batch number ``batch``.
        """
        self._background.submit("drop_after", lambda: self._drop_after(epoch, batch))
        self._background.wait()

    def close(self) -> None:
        """Ends the thread. The next ``write`` starts a new one."""
        self._background.close()

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def _drop_after(self, epoch: int, batch: int) -> None:
        if not self.path.is_file():
            return
        rows = parse_metrics(self.path.read_text(encoding="utf-8", errors="replace"))
        position = (epoch + 1, batch)
        kept = [row for row in rows if (row["epoch"], row.get("batch", math.inf)) <= position]
        lines = [json.dumps(row).encode() + b"\n" for row in kept]
        with atomic_write(self.path) as file:
            file.writelines(lines)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
