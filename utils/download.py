"""Says which files to fetch by hand if a torchvision dataset cannot be downloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line


@contextlib.contextmanager
def downloading(dataset: Callable[..., Any], root: str | Path) -> Iterator[None]:
    """Wraps the construction of a torchvision dataset with ``download=True``.

    If the download fails, the empty folders that it made are deleted. The error names the files to
    fetch, and the folder to put them in.

    Args:
        dataset: the class of the dataset, or a function that makes one.
        root: the folder that it downloads to.

    Raises:
        UserError: there is no network, or the files in ``root`` are broken.
    """
    name = getattr(dataset, "__name__", "the dataset")
    source, folder = _find_source(dataset, name, Path(root))
    new = [path for path in (folder, folder.parent, Path(root)) if not path.exists()]
    try:
        yield
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        if "Unknown value" in str(error):  # torchvision's words for a wrong argument
            raise
        for path in new:
            with contextlib.suppress(OSError):  # not empty, or not made
                path.rmdir()
        raise UserError(
            f"{name} is missing or broken in {root}, and cannot be downloaded: "
            f"put {source} into {folder} ({one_line(error, 120)})"
        ) from error


def _find_source(dataset: Callable[..., Any], name: str, root: Path) -> tuple[str, Path]:
    """The files that a dataset downloads, in words, and the folder where it looks for them."""
    mirrors = getattr(dataset, "mirrors", None)
    resources = getattr(dataset, "resources", None)
    if mirrors and resources:
        files = ", ".join(file for file, _ in resources)
        return f"{files} from {mirrors[0]}", root / name / "raw"
    return getattr(dataset, "url", "its files"), root
