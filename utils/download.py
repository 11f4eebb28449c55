"""What to do when a torchvision dataset cannot be downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line


@contextlib.contextmanager
def downloading(dataset: Any, root: str | Path) -> Iterator[None]:
    """Around making a torchvision ``dataset`` with ``download=True``: a failure says what to fetch by hand, and where.

    Raises:
        UserError: no network, or broken files in ``root``.
    """
    name, folder, source = dataset.__name__, Path(root), "its files"
    if hasattr(dataset, "mirrors") and hasattr(dataset, "resources"):
        source = f"{', '.join(file for file, _ in dataset.resources)} from {dataset.mirrors[0]}"
        folder = folder / name / "raw"
    elif hasattr(dataset, "url"):
        source = dataset.url
    new = [path for path in (folder, folder.parent, Path(root)) if not path.exists()]
    try:
        yield
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        if "Unknown value" in str(error):  # of another argument
            raise
        for empty in new:
            with contextlib.suppress(OSError):  # not empty, or not there
                empty.rmdir()
        reason = one_line(error, 120)
        raise UserError(
            f"{name} is not in {root}, or broken, and no download: put {source} into {folder} ({reason})"
        ) from error
