"""Merges the changes of two sides into one text, with ``git merge-file``."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError
from utils.project.git import Git

MAX_CONFLICTS = 127  # the exit status of git merge-file counts them up to here


class Merge(NamedTuple):
    """The result of a merge.

    Attributes:
        content: of the merged file.
        conflict_count: how many places hold both sides between markers.
    """

    content: bytes
    conflict_count: int


def is_binary(content: bytes) -> bool:
    """Whether git takes a content for binary: a zero byte is among the first 8000."""
    return b"\0" in content[:8000]


def has_crlf(content: bytes) -> bool:
    """Whether all lines of a content end as on Windows."""
    count = content.count(b"\n")
    return count > 0 and content.count(b"\r\n") == count


def to_lf(content: bytes) -> bytes:
    """Returns a content whose lines end as on Unix."""
    return content.replace(b"\r\n", b"\n")


def with_endings_of(content: bytes, example: bytes) -> bytes:
    """Returns ``content`` with line ends as on Windows if ``example`` has them."""
    return to_lf(content).replace(b"\n", b"\r\n") if has_crlf(example) else content


def merge(base: bytes, yours: bytes, new: bytes, labels: tuple[str, str, str]) -> Merge:
    """Applies the changes from ``base`` to ``new`` to ``yours``.

    Where both sides changed the same lines, the result holds both between markers. The line ends of
    ``yours`` stay.

    Args:
        base: the common origin; empty if it is unknown, and then each difference is a conflict.
        yours: one side.
        new: the other side.
        labels: names for ``yours``, ``base`` and ``new`` in the markers.
    """
    sides = [to_lf(side) if has_crlf(yours) else side for side in (yours, base, new)]
    with tempfile.TemporaryDirectory(prefix="plainloop-merge-") as name:
        folder = Path(name)
        paths = [folder / side for side in ("yours", "base", "new")]
        for path, side in zip(paths, sides, strict=True):
            path.write_bytes(side)
        words = [word for label in labels for word in ("-L", label)]
        done = Git(folder).try_run("merge-file", "-p", *words, *paths)
    _check(done)
    return Merge(with_endings_of(done.stdout, yours), done.returncode)


def _check(done: subprocess.CompletedProcess[bytes]) -> None:
    if not 0 <= done.returncode <= MAX_CONFLICTS:
        raise UserError(f"git merge-file failed: {done.stderr.decode('utf-8', 'replace').strip()}")
