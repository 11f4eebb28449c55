"""metrics.jsonl: a line of numbers for every epoch, which a resumed run continues."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import written_whole


class MetricsFile:
    """Appends one JSON object a line; NaN and infinities, which JSON lacks, become null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, values: dict[str, Any]) -> None:
        """Adds one line."""
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite, default=str) + "\n")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None

    def drop_after(self, epoch: int) -> None:
        """Takes away the lines past ``epoch``, and one that a crash cut short: the run will write them again."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["epoch"] <= epoch:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        with written_whole(self.path) as file:
            file.write("".join(kept).encode())
