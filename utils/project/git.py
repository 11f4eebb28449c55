"""Runs git in a folder, and reads what new projects and upgrades ask it for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError, shorten

LOCATIONS = (  # variables that name another repository inside a hook
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)
SYMLINK, SUBMODULE = "120000", "160000"  # modes


class TrackedFile(NamedTuple):
    """A file in git's index.

    Attributes:
        mode: such as ``100644``, or ``100755`` for an executable file.
        blob_id: of its content.
        is_watched: git looks for changes of it; ``git update-index --assume-unchanged`` ends that.
    """

    mode: str
    blob_id: str
    is_watched: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is a file whose content an upgrade may change."""
        return self.is_watched and self.mode not in (SYMLINK, SUBMODULE)


class Git:
    """git in a folder.

    Args:
        folder: the folder in which git runs.
        git_folder: the repository, if ``folder`` lies outside of it.
        index: another file for git's index.
    """

    def __init__(
        self, folder: Path, git_folder: Path | None = None, index: Path | None = None
    ) -> None:
        self.folder = folder
        variables = {name: text for name, text in os.environ.items() if name not in LOCATIONS}
        if git_folder is not None:
            variables |= {"GIT_DIR": str(git_folder), "GIT_WORK_TREE": str(folder)}
        if index is not None:
            variables["GIT_INDEX_FILE"] = str(index)
        self._variables = variables | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}

    def run(
        self, *words: str | Path, data: bytes = b"", env: dict[str, str] | None = None
    ) -> bytes:
        """Returns the output of ``git WORDS``.

        Args:
            words: the command and its arguments.
            data: the standard input.
            env: more environment variables.

        Raises:
            UserError: git is not installed, or the command failed.
        """
        done = self.try_run(*words, data=data, env=env)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = shorten(" ".join(lines) or f"exit status {done.returncode}", 300)
            raise UserError(f"git {words[0]} failed in {self.folder}: {reason}")
        return done.stdout

    def try_run(
        self, *words: str | Path, data: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs ``git WORDS``, which may fail.

        Raises:
            UserError: git is not installed.
        """
        try:
            return subprocess.run(
                ["git", *map(str, words)],
                cwd=self.folder,
                env=self._variables | (env or {}),
                input=data,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise UserError("git is not installed, and an upgrade needs it; install it") from None

    def read(self, *words: str | Path) -> str:
        """Returns the output of ``git WORDS`` as text; empty if the command failed."""
        done = self.try_run(*words)
        return "" if done.returncode else done.stdout.decode("utf-8", "replace").strip()

    def read_blob(self, blob_id: str) -> bytes | None:
        """Returns the content of a blob; None if the repository does not hold it."""
        done = self.try_run("cat-file", "blob", blob_id)
        return None if done.returncode else done.stdout

    def get_path(self, name: str) -> Path:
        """Returns the path of a file of git's own, such as ``MERGE_HEAD``."""
        return self.folder / self.read("rev-parse", "--git-path", name)

    def list_files(self) -> dict[str, TrackedFile]:
        """Returns the files below the folder that git tracks, by their paths in the folder."""
        files = {}
        listed = self.run("ls-files", "-s", "-v", "-z").decode("utf-8", "surrogateescape")
        for entry in listed.split("\0"):
            facts, _, path = entry.partition("\t")
            if path:
                tag, mode, blob_id, _ = facts.split()
                files[path] = TrackedFile(mode, blob_id, is_watched=tag == "H")
        return files


def open_repository(folder: Path) -> Git | None:
    """Returns git in the top folder of a repository; None if it is none, or without git."""
    has_git = (folder / ".git").exists() and shutil.which("git") is not None
    return Git(folder) if has_git else None
