"""Finds a version of the framework: in a folder, an archive or a git repository."""

from __future__ import annotations

import ast
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from utils.errors import UserError, one_line, shorten
from utils.project.git import Git

VERSION_FILE = "utils/version.py"


class Framework(NamedTuple):
    """A version of the framework on this machine.

    Attributes:
        folder: its files.
        version: of the framework.
        commit: which git has checked out; empty without git.
    """

    folder: Path
    version: str
    commit: str

    @property
    def git(self) -> Git | None:
        """The framework's repository, if it has one."""
        return Git(self.folder) if self.commit else None


def parse_version(text: str) -> tuple[int, ...]:
    """Returns ``(0, 8, 0)`` for ``0.8.0``; versions compare like these numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def get_version(text: str) -> str:
    """Returns the version that the text of ``utils/version.py`` says, or nothing."""
    found = re.search(r'^VERSION = (".*?")', text, re.MULTILINE)
    return str(ast.literal_eval(found[1])) if found else ""


def open_framework(folder: Path) -> Framework:
    """Returns the version of the framework in a folder.

    Raises:
        UserError: the folder does not hold the framework.
    """
    path = folder / VERSION_FILE
    version = get_version(path.read_text(encoding="utf-8")) if path.is_file() else ""
    if not version or not (folder / "train.py").is_file():
        raise UserError(f"{folder}: is not a folder of Plainloop: it has no {VERSION_FILE}")
    is_repository = (folder / ".git").exists()
    commit = Git(folder).read("rev-parse", "--verify", "-q", "HEAD") if is_repository else ""
    return Framework(folder, version, commit)


def find_framework(source: str, version: str, scratch: Path) -> Framework:
    """Finds the framework, and one version of it.

    Args:
        source: a folder, a ``.zip`` or ``.tar.gz`` file, or the URL of a git repository.
        version: such as ``0.8.0``; empty for the files as they are, or the newest of a URL.
        scratch: an empty folder for what is unpacked or cloned.

    Raises:
        UserError: there is no such framework, or it does not have the version.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        framework = open_framework(path.resolve())
    elif path.is_file():
        framework = open_framework(_unpack(path, scratch))
    elif re.search(r"://|^[\w.-]+@[\w.-]+:", source):
        _clone(source, scratch / "clone")
        framework = open_framework(scratch / "clone")
    else:
        message = f"{source}: is neither a folder, an archive nor the URL of a git repository"
        raise UserError(f"{message}; give the framework's, or clone it first")
    if not version or version == framework.version:
        return framework
    return _check_out(framework, version, scratch)


def check_out_commit(framework: Framework, commit: str, folder: Path) -> Framework:
    """Checks a commit of the framework out into a new folder that has the framework's history.

    Raises:
        UserError: git failed.
    """
    _clone(str(framework.folder), folder, "--shared", "--no-checkout")
    Git(folder).run("checkout", "-q", "--detach", commit)
    return open_framework(folder)


def find_commit(git: Git, version: str) -> str:
    """Returns the commit of a version, or nothing: the tag, or the last commit that says it."""
    tag = git.read("rev-parse", "--verify", "-q", f"refs/tags/v{version}^{{commit}}")
    if tag:
        return tag
    head = git.read("rev-parse", "--verify", "-q", "HEAD")
    commits = git.read("log", "--format=%H", "HEAD", "--", VERSION_FILE).split()
    for commit in [head, *(f"{commit}^" for commit in commits), *commits]:
        if get_version(git.read("show", f"{commit}:{VERSION_FILE}")) == version:
            return git.read("rev-parse", commit)
    return ""


def _check_out(framework: Framework, version: str, scratch: Path) -> Framework:
    if framework.git is None:
        message = f"--version {version}: {framework.folder} holds only version {framework.version}"
        raise UserError(f"{message}, for it is not under git; give a git repository")
    commit = find_commit(framework.git, version)
    if not commit:
        versions = ", ".join(list_versions(framework.git)) or "none"
        raise UserError(f"--version {version}: is unknown; the versions are {versions}")
    return check_out_commit(framework, commit, scratch / "version")


def list_versions(git: Git) -> list[str]:
    """Returns the versions in the history of the framework, the newest first."""
    tags = git.read("tag", "--list", "v[0-9]*").split()
    commits = git.read("log", "--format=%H", "HEAD", "--", VERSION_FILE).split()
    texts = [git.read("show", f"{commit}:{VERSION_FILE}") for commit in commits]
    versions = {tag.removeprefix("v") for tag in tags} | set(map(get_version, texts))
    return sorted(versions - {""}, key=parse_version, reverse=True)


def _clone(source: str, folder: Path, *options: str) -> None:
    done = Git(folder.parent).try_run("clone", "-q", *options, "--", source, folder)
    if done.returncode:
        reason = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise UserError(f"{source}: cannot be cloned: {shorten(reason, 200)}")


def _unpack(path: Path, scratch: Path) -> Path:
    """Unpacks an archive and returns the folder with the files."""
    folder = scratch / "archive"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
                _restore_modes(archive, folder)
        else:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter="data")
    except tarfile.ReadError:  # its text lists each kind of compression
        raise UserError(f"{path}: is no archive that can be read, .zip or .tar.gz") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{path}: is no archive that can be read: {one_line(error)}") from None
    entries = [entry for entry in folder.iterdir() if entry.name != "pax_global_header"]
    is_wrapped = len(entries) == 1 and entries[0].is_dir()
    return entries[0] if is_wrapped else folder


def _restore_modes(archive: zipfile.ZipFile, folder: Path) -> None:
    """zipfile leaves out which files are executable."""
    for entry in archive.infolist():
        path = folder / entry.filename
        if (entry.external_attr >> 16) & 0o100 and path.is_file():
            path.chmod(0o755)
