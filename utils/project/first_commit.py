"""What git says about the framework, and the first commit of a project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from utils.errors import UserError, one_line

NOBODY = ("-c", "user.name=Plainloop", "-c", "user.email=nobody@localhost")
CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


def run_git(folder: Path, *words: str) -> str | None:
    """Returns the output of ``git WORDS`` in a folder; None if it fails or git is missing."""
    # In a hook of git, these variables name another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def read_commit(framework: Path) -> str:
    """Returns the commit of the framework; an empty text if it is not under git."""
    has_git = (framework / ".git").exists()
    return (run_git(framework, "rev-parse", "HEAD") or "") if has_git else ""


def find_source(framework: Path) -> str:
    """Returns where the framework comes from: the URL that it was cloned from, or its folder."""
    has_git = (framework / ".git").exists()
    url = run_git(framework, "config", "remote.origin.url") if has_git else None
    return CREDENTIALS.sub("", url) if url else str(framework)


def is_changed(framework: Path) -> bool:
    """Whether the framework has changes that are not committed."""
    return (framework / ".git").exists() and bool(run_git(framework, "status", "--porcelain"))


def commit_all(project: Path, message: str) -> bool:
    """Makes a repository with one commit of all files.

    Returns:
        Whether there is one: False if git is not installed.

    Raises:
        UserError: git fails.
    """
    if shutil.which("git") is None:
        return False
    author = () if run_git(project, "config", "user.email") else NOBODY
    # Neither the user's hooks nor a password for a signature stand in the way.
    commit = (*author, "-c", "commit.gpgsign=false", "commit", "-q", "--no-verify", "-m", message)
    # -f: what the user's own list ignores in all repositories belongs to this one.
    for words in (("init", "-q"), ("add", "-A", "-f"), commit):
        if run_git(project, *words) is None:
            raise UserError(one_line(ValueError(f"git {words[0]}: failed in {project}")))
    return True
