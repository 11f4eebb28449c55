"""Finds the files of the framework as a project was given them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError
from utils.project.git import Git
from utils.project.record import get_blob_id


class BaseReader:
    """Reads the content that a file of a project had when the framework gave it.

    It is looked for in the project's git objects, where the first commit and each upgrade put it,
    then in the framework's. If neither has it, the old version is composed again.

    Args:
        project: the repository of the project.
        framework: the repository of the framework; None if it has none.
        compose_old: composes the project's version of the framework again, and returns its folder;
            None if that version cannot be found.
    """

    def __init__(
        self, project: Git, framework: Git | None, compose_old: Callable[[], Path | None]
    ) -> None:
        self._repositories = [project] if framework is None else [project, framework]
        self._compose_old = compose_old
        self._old: Path | None = None
        self._has_composed = False

    def read(self, path: str, blob_id: str) -> bytes | None:
        """Returns the content with this blob id; None if it is nowhere."""
        for repository in self._repositories:
            content = repository.read_blob(blob_id)
            if content is not None:
                return content
        if not self._has_composed:
            self._has_composed = True
            try:
                self._old = self._compose_old()
            except (UserError, OSError):  # then conflicts show what differs
                self._old = None
        if self._old is None or not (self._old / path).is_file():
            return None
        content = (self._old / path).read_bytes()
        return content if get_blob_id(content) == blob_id else None
