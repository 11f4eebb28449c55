"""Decides file by file what an upgrade does, before it does anything.

A file of the framework has three states: the base, as it was given to the project; yours, as it is
in the project; and the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from utils.project.git import TrackedFile
from utils.project.merge import is_binary, merge, to_lf, with_endings_of
from utils.project.record import FILE_NAME, get_blob_id

SUFFIX = ".plainloop"  # of the new version of a file, beside yours


class Kind(Enum):
    """What an upgrade does with a file. The value is the word of the report."""

    NEW = "new"
    REPLACED = "replaced"
    MERGED = "merged"
    REMOVED = "removed"
    CONFLICT = "in conflict"
    BOTH_KEPT = "both kept"
    BLOCKED = "not written"
    KEPT = "kept"
    STAYS_DELETED = "stays deleted"


class NewFile(NamedTuple):
    """A file of the framework.

    Attributes:
        content: of the file.
        is_executable: whether it is a program.
    """

    content: bytes
    is_executable: bool = False


@dataclass
class Change:
    """What an upgrade does with one file.

    Attributes:
        kind: what happens.
        path: of the file in the project.
        content: to write to ``target``; None if nothing is written.
        is_executable: the mode to write.
        base: the content in which both sides began, for a conflict.
        new: the content of the new version, for a conflict.
        note: for the report.
    """

    kind: Kind
    path: str
    content: bytes | None = None
    is_executable: bool = False
    base: bytes | None = None
    new: bytes | None = None
    note: str = ""

    @property
    def target(self) -> str:
        """The path that is written."""
        return self.path + (SUFFIX if self.kind is Kind.BOTH_KEPT else "")


class Planner:
    """Compares the three states of files.

    Args:
        project: the folder of the project.
        tracked: the files that git tracks there.
        read_base: returns the content of a path and blob id as the project was given it; None if
            it cannot be found.
        labels: names for yours, the base and the new side in conflict markers.
    """

    def __init__(
        self,
        project: Path,
        tracked: dict[str, TrackedFile],
        read_base: Callable[[str, str], bytes | None],
        labels: tuple[str, str, str],
    ) -> None:
        self._project = project
        self._tracked = tracked
        self._read_base = read_base
        self._labels = labels

    def plan(self, base_ids: dict[str, str], new: dict[str, NewFile]) -> list[Change]:
        """Returns what happens to each file that changes, or that the user must know of.

        Args:
            base_ids: the blob ids of the framework's files that the project was given.
            new: the framework's files in the new version.
        """
        changes = []
        for path in sorted({*base_ids, *new} - {FILE_NAME}):
            if path not in base_ids:
                change = self._add(path, new[path])
            elif path not in new:
                change = self._remove(path, base_ids[path])
            elif base_ids[path] == get_blob_id(new[path].content):
                change = None
            else:
                change = self._update(path, base_ids[path], new[path])
            if change is not None:
                changes.append(change)
        return changes

    def _add(self, path: str, new: NewFile) -> Change | None:
        """Plans a file that the framework did not have, or did not give to the project."""
        obstacle = self._find_obstacle(path)
        if obstacle:
            return Change(Kind.BLOCKED, path, note=f"{obstacle} is in the way")
        if not self._exists(path):
            return Change(Kind.NEW, path, new.content, new.is_executable)
        if self._is_plain(path) and to_lf(self._read(path)) == to_lf(new.content):
            return None
        return self._keep_both(path, new, "you have a file of this name")

    def _remove(self, path: str, base_id: str) -> Change | None:
        """Plans a file that the framework no longer has."""
        if not self._exists(path):
            return None
        if self._is_plain(path) and self._is_untouched(path, base_id):
            return Change(Kind.REMOVED, path)
        return Change(Kind.KEPT, path, note="the new version has no such file; you have edited it")

    def _update(self, path: str, base_id: str, new: NewFile) -> Change | None:
        """Plans a file that differs between the two versions of the framework."""
        if not self._exists(path):
            note = "you have deleted it; the new version has changed it"
            return Change(Kind.STAYS_DELETED, path, note=note)
        if not self._is_plain(path):
            return self._keep_both(path, new, "yours is a link, or git does not watch it")
        yours = self._read(path)
        is_executable = new.is_executable or self._tracked[path].mode.endswith("755")
        content = with_endings_of(new.content, yours)
        if self._is_untouched(path, base_id):
            return Change(Kind.REPLACED, path, content, is_executable)
        if to_lf(yours) == to_lf(new.content):
            return None
        if is_binary(yours) or is_binary(new.content):
            return self._keep_both(path, new, "both have changed it, and it is no text")
        base = self._read_base(path, base_id)
        return self._merge(path, base, yours, NewFile(new.content, is_executable))

    def _merge(self, path: str, base: bytes | None, yours: bytes, new: NewFile) -> Change | None:
        """Plans the merge of a text that both sides have changed; ``base`` may be unknown."""
        content, count = merge(base or b"", yours, new.content, self._labels)
        if content == yours:
            return None
        if not count:
            return Change(Kind.MERGED, path, content, new.is_executable)
        note = f"{count} place" + ("s" if count > 1 else "")
        note += "" if base is not None else ", for the version you began with was not found"
        change = Change(Kind.CONFLICT, path, content, new.is_executable, note=note)
        change.base, change.new = base, new.content
        return change

    def _keep_both(self, path: str, new: NewFile, reason: str) -> Change:
        """Plans the new file beside yours."""
        beside = path + SUFFIX
        obstacle = self._find_obstacle(beside)
        if not obstacle and self._exists(beside) and not self._is_plain(beside):
            obstacle = beside
        if obstacle:
            return Change(Kind.BLOCKED, path, note=f"{obstacle} is in the way")
        note = f"{reason}; the new version is in {beside}"
        return Change(Kind.BOTH_KEPT, path, new.content, new.is_executable, note=note)

    def _find_obstacle(self, path: str) -> str:
        """Returns the first parent of a path that is no folder of this project, or nothing."""
        for parent in reversed([str(parent) for parent in Path(path).parents][:-1]):
            folder = self._project / parent
            is_folder = folder.is_dir() and not folder.is_symlink()
            if parent in self._tracked or (self._exists(parent) and not is_folder):
                return parent
        return ""

    def _exists(self, path: str) -> bool:
        full_path = self._project / path
        return full_path.is_symlink() or full_path.exists()

    def _is_plain(self, path: str) -> bool:
        """Whether an upgrade may write to the path: git can restore what is there."""
        file = self._tracked.get(path)
        return file is not None and file.is_plain and not self._find_obstacle(path)

    def _read(self, path: str) -> bytes:
        return (self._project / path).read_bytes()

    def _is_untouched(self, path: str, base_id: str) -> bool:
        content = self._read(path)
        return base_id in (get_blob_id(content), get_blob_id(to_lf(content)))
