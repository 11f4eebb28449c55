"""Brings a planned upgrade into the project, as a merge that the user commits.

Nothing is lost at any moment: the tree was clean before, a branch keeps it, and git knows of each
new file before it is written. So ``git reset --hard HEAD`` restores the project, also after a
``kill -9``, and the branch does after the commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError, one_line
from utils.project.git import Git, TrackedFile
from utils.project.plan import Change, Kind
from utils.project.record import FILE_NAME, Record

REFS = "refs/plainloop"  # of the framework's files as they were given, one commit for each version
BACKUP = "plainloop/before-"  # of the branches that keep the project
AUTHOR = {
    f"GIT_{role}_{fact}": text
    for role in ("AUTHOR", "COMMITTER")
    for fact, text in (("NAME", "Plainloop"), ("EMAIL", "plainloop@example.invalid"))
}
NO_BLOB = "0" * 40
KINDS_WITHOUT_WRITE = (Kind.BLOCKED, Kind.KEPT, Kind.STAYS_DELETED)


def check_tree(git: Git) -> None:
    """Checks that git can restore a project.

    Raises:
        UserError: it is not under git, or it has changes that are not committed.
    """
    folder = git.folder
    if not git.read("rev-parse", "--show-toplevel"):
        hint = "run `git init`, `git add .` and `git commit` in it first"
        raise UserError(f"{folder}: is not under git, which an upgrade needs; {hint}")
    if not git.read("rev-parse", "--verify", "-q", "HEAD"):
        raise UserError(f"{folder}: has no commit yet; run `git add .` and `git commit` first")
    head = git.get_path("MERGE_HEAD")
    if head.is_file():
        commit = head.read_text(encoding="utf-8").split()[0]
        name = git.read("for-each-ref", f"--points-at={commit}", "--format=%(refname)", REFS)
        if name:
            version = name.rpartition("/")[2]
            undo = "`git reset --hard HEAD` undoes it"
            message = f"the upgrade to {version} is not committed; `git commit` ends it, {undo}"
            raise UserError(f"{folder}: {message}")
    changed = git.run("status", "--porcelain", "--untracked-files=no").decode()
    if changed or head.is_file():
        first = changed.split("\n")[0][3:] or "a merge"
        hint = "commit or stash your changes first"
        raise UserError(f"{folder}: has changes that are not committed, such as {first}; {hint}")
    if not git.read("ls-files", FILE_NAME):
        raise UserError(f"{folder / FILE_NAME}: is not in git; `git add` and commit it first")


class Upgrade:
    """Writes the changes of an upgrade into a project.

    Args:
        git: of the project's folder.
        tracked: the files that git tracks there.
    """

    def __init__(self, git: Git, tracked: dict[str, TrackedFile]) -> None:
        self._git = git
        self._tracked = tracked
        self._top = Git(Path(git.read("rev-parse", "--show-toplevel")))
        self._prefix = git.read("rev-parse", "--show-prefix")
        self._repository = git.folder / git.read("rev-parse", "--absolute-git-dir")

    def apply(self, changes: list[Change], record: Record, new: Path, message: str) -> str:
        """Makes all changes. The user commits them.

        Args:
            changes: what to do.
            record: of the project after it.
            new: the folder with the framework's files as the new version gives them.
            message: of the commit.

        Returns:
            The branch that keeps the project as it was.

        Raises:
            UserError: git failed, or the disk is full; the project is as before.
        """
        backup = self._make_backup(record.version)
        try:
            pristine = self._commit_pristine(record, new)
            words = ("-s", "ours", "--no-commit", "--no-ff", "--allow-unrelated-histories")
            self._top.run("merge", "-q", *words, "-m", message, pristine, env=AUTHOR)
            self._write(changes, record)
        except BaseException as error:
            self._restore(backup, error)
            raise
        return backup

    def _make_backup(self, version: str) -> str:
        """Makes a branch of the project as it is, with a name that no other commit has."""
        head = self._git.read("rev-parse", "HEAD")
        name, number = f"{BACKUP}{version}", 1
        while self._git.read("rev-parse", "--verify", "-q", f"refs/heads/{name}") not in ("", head):
            number += 1
            name = f"{BACKUP}{version}-{number}"
        self._git.run("branch", "-f", name, head)
        return name

    def _commit_pristine(self, record: Record, new: Path) -> str:
        """Commits the framework's files as given; the next upgrade finds its base there."""
        with tempfile.TemporaryDirectory(prefix="plainloop-index-") as name:
            git = Git(new, self._repository, Path(name, "index"))
            self._stage(git, [*record.files])
            if self._prefix:
                tree = git.run("write-tree").decode().strip()
                git.run("read-tree", "--empty")
                git.run("read-tree", f"--prefix={self._prefix}", tree)
            tree = git.run("write-tree").decode().strip()
        parent = self._git.read(
            "for-each-ref", "--sort=-committerdate", "--count=1", "--format=%(objectname)", REFS
        )
        words = ["commit-tree", tree, "-m", f"Plainloop {record.version}"]
        words += ["-p", parent] if parent else []
        commit = self._git.run(*words, env=AUTHOR).decode().strip()
        self._git.run("update-ref", f"{REFS}/{record.version}", commit)
        return commit

    def _write(self, changes: list[Change], record: Record) -> None:
        """First the index, so that git knows of all files; then the files."""
        written = [change for change in changes if change.kind not in KINDS_WITHOUT_WRITE]
        removed = [change for change in written if change.kind is Kind.REMOVED]
        conflicts = [change for change in written if change.kind is Kind.CONFLICT]
        clean = [change for change in written if change not in removed and change not in conflicts]
        with tempfile.TemporaryDirectory(prefix="plainloop-upgrade-") as name:
            scratch = Path(name)
            _write_files(scratch / self._prefix, clean)
            record.write(scratch / self._prefix)
            paths = [self._prefix + path for path in (FILE_NAME, *(item.target for item in clean))]
            self._stage(Git(scratch, self._repository), paths)
        gone = _join(self._prefix + change.path for change in removed)
        self._top.run("update-index", "--force-remove", "-z", "--stdin", data=gone)
        self._mark_conflicts(conflicts)
        self._top.run("checkout-index", "-f", "-u", "-z", "--stdin", data=_join(paths))
        for change in removed:
            _remove(self._git.folder, change.path)
        _write_files(self._git.folder, conflicts)

    def _stage(self, git: Git, paths: list[str]) -> None:
        """Puts files into the index, from a folder that may be another one than the project's."""
        git.run("update-index", "--add", "-z", "--stdin", data=_join(paths))

    def _mark_conflicts(self, conflicts: list[Change]) -> None:
        """Tells git of the three sides, so that it commits nothing before they are resolved."""
        lines = []
        for change in conflicts:
            file = self._tracked[change.path]
            sides = [(1, change.base), (3, change.new)]
            ids = {
                stage: self._git.run("hash-object", "-w", "--stdin", data=content).decode().strip()
                for stage, content in sides
                if content is not None
            }
            path = self._prefix + change.path
            lines.append(f"0 {NO_BLOB}\t{path}")
            for stage, blob_id in sorted({**ids, 2: file.blob_id}.items()):
                lines.append(f"{file.mode} {blob_id} {stage}\t{path}")
        self._top.run("update-index", "-z", "--index-info", data=_join(lines))

    def _restore(self, backup: str, error: BaseException) -> None:
        """Undoes an upgrade that failed.

        Raises:
            UserError: that failed too.
        """
        done = self._top.try_run("reset", "-q", "--hard", "HEAD")
        if done.returncode:
            message = f"the upgrade failed ({one_line(error)}), and git could not undo it"
            command = f"git reset --hard {backup}"
            raise UserError(f"{message}; `{command}` restores the project") from None
        if isinstance(error, OSError):
            message = f"cannot be upgraded: {one_line(error)}; it is as before"
            raise UserError(f"{self._git.folder}: {message}") from None


def _join(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\0" for line in lines).encode("utf-8", "surrogateescape")


def _write_files(folder: Path, changes: list[Change]) -> None:
    for change in changes:
        path = folder / change.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change.content or b"")  # git restores it if this is interrupted
        path.chmod(0o755 if change.is_executable else 0o644)


def _remove(folder: Path, name: str) -> None:
    """Deletes a file, and the folders that are empty without it."""
    (folder / name).unlink(missing_ok=True)
    for parent in list(Path(name).parents)[:-1]:
        if any((folder / parent).iterdir()):
            break
        (folder / parent).rmdir()
