"""The record of a project, ``.plainloop.json``: which framework it was made from, and with what."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line
from utils.files import atomic_write

FILE_NAME = ".plainloop.json"


@dataclass
class Record:
    """What a project takes from the framework.

    Attributes:
        version: of the framework.
        commit: of the framework; empty if it was not under git.
        source: the repository or folder that the framework was copied from.
        config: the config that the project began with, such as ``config/config.json``.
        rooms: the optional rooms that the project has, by their names in ``ROOMS``.
        files: the framework's files as they were given to the project: path to git blob id.
        migration: what `utils.migrate` chose, if it made the project.
    """

    version: str
    commit: str = ""
    source: str = ""
    config: str = ""
    rooms: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    migration: dict[str, Any] = field(default_factory=dict)

    def write(self, project: Path) -> None:
        """Writes the record into the folder ``project``, completely or not at all."""
        with atomic_write(project / FILE_NAME) as file:
            file.write(json.dumps(asdict(self), indent=2).encode() + b"\n")

    @classmethod
    def read(cls, project: Path) -> Record:
        """Reads the record of the project in a folder.

        Raises:
            UserError: the project has no record, or a damaged one.
        """
        path = project / FILE_NAME
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            record.check()
        except FileNotFoundError:
            message = f"{path}: is missing; `python -m utils.new` and `utils.migrate` write one"
            raise UserError(message) from None
        except (OSError, ValueError, TypeError) as error:
            hint = f"`git log {FILE_NAME}` lists earlier ones"
            raise UserError(f"{path}: cannot be read: {one_line(error)}; {hint}") from None
        return record

    def check(self) -> None:
        """Checks the kinds of the values, which an edit by hand may have damaged.

        Raises:
            ValueError: a value has the wrong type, or a path leads out of the project.
        """
        paths = [*self.files] if isinstance(self.files, dict) else []
        texts = [self.version, self.commit, self.source, self.config, *paths]
        texts += [*self.files.values()] if paths else []
        texts += self.rooms if isinstance(self.rooms, list) else [None]
        if not paths or not all(isinstance(text, str) for text in texts):
            raise ValueError("a value has the wrong type, or there are no files")
        if not re.fullmatch(r"\d+(\.\d+)*", self.version):
            raise ValueError(f"'{self.version}' is no version")
        for name in [*paths, self.config]:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' is not in the project")


def get_blob_id(content: bytes) -> str:
    """Returns the id under which git stores a file with this content (SHA-1)."""
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
