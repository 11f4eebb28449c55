"""What git says about the framework, and the first commit of a project."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from utils.project.git import Git, open_repository

NOBODY = ("-c", "user.name=Plainloop", "-c", "user.email=nobody@localhost")
CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


def read_commit(framework: Path) -> str:
    """Returns the commit of the framework; an empty text if it is not under git."""
    git = open_repository(framework)
    return "" if git is None else git.read("rev-parse", "HEAD")


def find_source(framework: Path) -> str:
    """Returns where the framework comes from: the URL that it was cloned from, or its folder."""
    git = open_repository(framework)
    url = "" if git is None else git.read("config", "remote.origin.url")
    return CREDENTIALS.sub("", url) if url else str(framework)


def is_changed(framework: Path) -> bool:
    """Whether the framework has changes that are not committed."""
    git = open_repository(framework)
    return git is not None and bool(git.read("status", "--porcelain"))


def commit_all(project: Path, message: str) -> bool:
    """Makes a repository with one commit of all files.

    Returns:
        Whether there is one: False if git is not installed.

    Raises:
        UserError: git fails.
    """
    if shutil.which("git") is None:
        return False
    git = Git(project)
    author = () if git.read("config", "user.email") else NOBODY
    # Neither the user's hooks nor a password for a signature stand in the way.
    commit = (*author, "-c", "commit.gpgsign=false", "commit", "-q", "--no-verify", "-m", message)
    # -f: what the user's own list ignores in all repositories belongs to this one.
    for words in (("init", "-q"), ("add", "-A", "-f"), commit):
        git.run(*words)
    return True
