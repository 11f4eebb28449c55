"""What to do when a torchvision dataset cannot be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def download_hint(dataset: Any, root: Any) -> str:
    """Says which files to fetch by hand, and where to put them, for a torchvision dataset class."""
    folder = Path(str(root))
    if hasattr(dataset, "mirrors") and hasattr(dataset, "resources"):
        names = ", ".join(name for name, _ in dataset.resources)
        return f"; without network, put {names} (from {dataset.mirrors[0]}) into {folder / dataset.__name__ / 'raw'}"
    if hasattr(dataset, "url"):
        return f"; without network, put the file {dataset.url} into {folder}"
    return f"; without network, put the dataset's files into {folder}"
