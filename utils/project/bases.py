"""Finds the files of the framework as a project was given them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.project.git import Git
from utils.project.record import get_blob_id


class BaseReader:
    """Reads the content that a file of a project had when the framework gave it.

    It is looked for in the project's git objects, where the first commit and each upgrade put it,
    then in the framework's. If neither has it, the old version is composed again.

    Args:
        repositories: of the project and the framework.
        old_versions: folders with the framework's files as the project may have been given them.
            The next one is asked for only if the file was not in those before.
    """

    def __init__(self, repositories: Iterable[Git], old_versions: Iterator[Path]) -> None:
        self._repositories = list(repositories)
        self._folders: list[Path] = []
        self._others = old_versions

    def read(self, path: str, blob_id: str) -> bytes | None:
        """Returns the content with this blob id; None if it is nowhere."""
        for repository in self._repositories:
            content = repository.read_blob(blob_id)
            if content is not None:
                return content
        for folder in self._list_folders():
            file = folder / path
            if file.is_file() and get_blob_id(content := file.read_bytes()) == blob_id:
                return content
        return None

    def _list_folders(self) -> Iterator[Path]:
        yield from self._folders
        for folder in self._others:
            self._folders.append(folder)
            yield folder
