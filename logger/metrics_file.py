"""metrics.jsonl: a line of numbers for every epoch, which a resumed run continues."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from pathlib import Path
from typing import Any

from logger.background import Background
from utils.files import atomic_write


def rows_in(text: str) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; what is no line of an epoch's numbers is left out."""
    rows = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("epoch"), int)]


class MetricsFile:
    """Appends one JSON object a line; NaN and infinities, which JSON lacks, become null.

    A disk that fails or hangs costs one warning, and the lines from there on.

    Args:
        path: of the file.
        logger: is told of a failure.
        enabled: otherwise every method does nothing.
    """

    def __init__(
        self, path: Path, logger: logging.Logger | None = None, enabled: bool = True
    ) -> None:
        self.path = path
        self._background = Background(path.name, logger or logging.getLogger("metrics"))
        self._background.enabled = enabled

    def write(self, values: dict[str, Any]) -> None:
        """Adds one line. It is in the file when this returns, as a checkpoint may follow."""
        lacking = {
            key
            for key, value in values.items()
            if isinstance(value, float) and not math.isfinite(value)
        }
        finite = values | dict.fromkeys(lacking)
        self._background.do("write", lambda: self._append(json.dumps(finite, default=str) + "\n"))
        self._background.wait()

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def drop_after(self, epoch: int) -> None:
        """Takes away the lines past ``epoch``, and one that a crash cut short: the run will write them again."""
        self._background.do("drop_after", lambda: self._drop_after(epoch))
        self._background.wait()

    def close(self) -> None:
        """Ends the writing for now."""
        self._background.close()

    def _drop_after(self, epoch: int) -> None:
        if not self.path.is_file():
            return
        rows = rows_in(self.path.read_text(encoding="utf-8", errors="replace"))
        with atomic_write(self.path) as file:
            file.writelines(
                json.dumps(row).encode() + b"\n" for row in rows if row["epoch"] <= epoch
            )
