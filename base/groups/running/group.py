"""Group: the folder of the runs that a search or a repetition makes, and the config they share."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from base.groups.options import RepeatOptions
from base.tools.group_record import LOCKS
from config import ConfigParser
from config.check.preflight import check_run_id
from config.command_line import GROUP_SECTIONS
from config.read.merge import get_value
from config.read.references import escape_references
from config.read.section import to_plain
from config.read.text import compare_configs, to_text
from config.read.tree import split_words
from config.values import DEFAULT_SEED
from utils.checkpoints import CONFIG, GROUP, list_checkpoints
from utils.errors import UserError
from utils.files import hold_lock, lock_file
from utils.options import make_options
from utils.provenance import ROOT, write_durably
from utils.util import read_json
from utils.world import is_launched

MAX_DEPTH = 2  # of a group in the folder of its experiment
EXTENDABLE = {"search": "search.trials", "repeat": "repeat.seeds"}  # may grow when it goes on


@dataclass(frozen=True)
class Member:
    """A run of a group.

    Attributes:
        run_id: ``lr/trial-3`` for the run in ``saved/NAME/lr/trial-3``.
        folder: of the run.
        changes: what differs from the config of the group, by dotted key.
    """

    run_id: str
    folder: Path
    changes: Mapping[str, Any]

    def find_other_value(self) -> str:
        """Returns the key of a change that the run in the folder does not have; else an empty text.

        Such a run belongs to another group, whose folder was emptied in part.
        """
        try:
            config = read_json(self.folder / CONFIG)
        except (OSError, ValueError):
            return ""  # it has not begun, or its own reader reports the damage
        for key, value in self.changes.items():
            is_around = any(other.startswith(f"{key}.") for other in self.changes)
            if is_around or re.search("[~$]", to_text(value)):
                continue  # a key inside it, or a home folder or a variable in a path, changes it
            try:
                found = get_value(config, split_words(key))
            except KeyError:
                return key
            if found != to_plain(value):
                return key
        return ""

    def list_arguments(self, group_config: Path, sections: list[str]) -> list[str]:
        """Lists the arguments of train.py that start this run, or continue it.

        Args:
            group_config: the file with the config of the group.
            sections: of that file, to remove.
        """
        if self.folder.is_dir() and list_checkpoints(self.folder):
            return ["-r", str(self.folder)]
        removals = [f"~{section}" for section in sections]
        return ["-c", str(group_config), "--run-id", self.run_id, *removals, *self.list_overrides()]

    def list_overrides(self) -> list[str]:
        """Lists the changes as ``KEY=VALUE``, a section before the values inside it."""
        by_depth = sorted(self.changes.items(), key=lambda pair: len(split_words(pair[0])))
        return [f"{key}={to_text(escape_references(value))}" for key, value in by_depth]


class Group:
    """The folder of several runs.

    Args:
        config: of the search or the repetition, already checked.
        section: ``search`` or ``repeat``.
    """

    def __init__(self, config: ConfigParser, section: str) -> None:
        self.config = config
        self.section = section
        self.folder = config.save_dir
        self.is_new = False

    @property
    def path(self) -> Path:
        """The file with the config of the group, in which references are not replaced."""
        return self.folder / GROUP

    def open(self) -> None:
        """Makes the folder, or checks that it is a group of the same config.

        Raises:
            UserError: the folder holds something else, or cannot be made.
        """
        if is_launched():
            message = f"a {self.section} starts its processes itself; run it without torchrun"
            raise UserError(message, key=self.section)
        if self.config.resume is not None:
            message = f"a run cannot become a {self.section}; leave out -r, or the section"
            raise UserError(message, key=self.section)
        if self.config.group is None and len(Path(self.config.run_id).parts) > MAX_DEPTH:
            message = f"--run-id {self.config.run_id}: the folder of a {self.section} has at most "
            raise UserError(f"{message}{MAX_DEPTH} words; those of its runs have more")
        self._refuse_other_folders()
        try:
            self._make_folder()
            with hold_lock(self.folder / ".lock"):
                self._write_config()
        except OSError as error:
            message = f"{self.folder}: the folder cannot be made: {error.strerror}"
            raise UserError(message) from None

    def _refuse_other_folders(self) -> None:
        """Raises UserError if runs cannot lie in the folder, which may have been moved."""
        run_id = self.make_member("", {}).run_id
        try:
            check_run_id(run_id)
        except UserError as error:
            raise UserError(f"{self.folder}: must be renamed: {error}") from None

    def _make_folder(self) -> None:
        first_id = self.config.run_id
        for count in range(2, 1000):
            is_chosen = self.config.has_explicit_run_id or self.config.group is not None
            if is_chosen or not self.folder.exists():
                break
            self.config.run_id = f"{first_id}-{count}"  # another one has begun in the same second
            self.folder = self.config.save_dir
        for folder in (self.folder, *self.folder.parents[: len(Path(self.config.run_id).parts)]):
            if (folder / CONFIG).is_file():
                raise UserError(f"{folder}: is a run; choose another --run-id")
        if not self.path.is_file() and any(self.folder.glob(f"*/{CONFIG}")):
            message = f"holds runs that no {self.section} has made; choose another --run-id"
            raise UserError(f"{self.folder}: {message}")
        (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)

    def _write_config(self) -> None:
        new = to_plain(self.config.unresolved)
        try:
            old = read_json(self.path)
        except FileNotFoundError:
            self.is_new = True
            write_durably(self.path, new)
            return
        except ValueError:
            raise UserError(f"{self.path}: is damaged; restore it, or begin again") from None
        changed = list_changed_keys(old, new)
        fixed = [key for key in changed if not key.startswith(EXTENDABLE[self.section])]
        if fixed:
            message = f"{self.folder}: this {self.section} has begun with another config: "
            message += f"{', '.join(fixed[:5])} differ{'s' if len(fixed) == 1 else ''}"
            raise UserError(f"{message}; choose another --run-id, or continue it with -r")
        if changed and self.section == "repeat":
            _check_seeds(old, new)
        if changed:
            write_durably(self.path, new)

    def has_begun(self) -> bool:
        """Whether a worker has taken a run."""
        return any((self.folder / LOCKS).glob("*"))

    def discard(self) -> None:
        """Removes the folder if this object has made it, after an error before the first run."""
        if self.is_new and not self.has_begun() and not any(self.folder.glob(f"*/{CONFIG}")):
            shutil.rmtree(self.folder, ignore_errors=True)
            for parent in self.folder.parents[:MAX_DEPTH]:
                with contextlib.suppress(OSError):  # it holds other runs
                    parent.rmdir()

    @contextlib.contextmanager
    def discarded_on_error(self) -> Iterator[None]:
        """Removes the folder if an error ends the context, and this object has made it."""
        try:
            yield
        except BaseException:
            self.discard()
            raise

    def claim(self, name: str) -> IO[bytes] | None:
        """Locks the run ``name`` for this worker; None if another worker has it.

        The lock ends when the file is closed, or with this process.
        """
        try:
            return lock_file(self.folder / LOCKS / name) or open(os.devnull, "rb")  # noqa: PTH123
        except UserError:
            return None

    def make_member(self, name: str, changes: Mapping[str, Any]) -> Member:
        """Makes the run ``name``, such as ``trial-3``, of this group.

        Raises:
            UserError: the folder was moved out of the one of its experiment.
        """
        changes = dict(changes)
        folder = self.folder.resolve()
        experiment = next(
            (path for path in folder.parents[:MAX_DEPTH] if path.name == self.config["name"]), None
        )
        if experiment is None:
            message = f"must lie in a folder with the name of the config, {self.config['name']}"
            raise UserError(f"{self.folder}: {message}")
        save_dir = Path(self.config["trainer"].get("save_dir", "saved/")).expanduser()
        if save_dir.resolve() != experiment.parent:  # it was moved, or the command runs elsewhere
            changes["trainer.save_dir"] = str(experiment.parent)
        run_id = (folder / name).relative_to(experiment).as_posix()
        return Member(run_id, self.folder / name, changes)

    def list_command(self, member: Member) -> list[str]:
        """Lists the command that starts a run, or continues it."""
        sections = [section for section in self.config.unresolved if section in GROUP_SECTIONS]
        arguments = member.list_arguments(self.path, sections)
        return [sys.executable, str(ROOT / "train.py"), *arguments]


def _check_seeds(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises UserError if the seeds of a repetition do not only grow."""
    first = int(new.get("seed", DEFAULT_SEED))
    before, after = (make_options(RepeatOptions, config["repeat"]) for config in (old, new))
    is_same_kind = (before.seeds is None) == (after.seeds is None)
    if not is_same_kind or not set(before.list_seeds(first)) <= set(after.list_seeds(first)):
        message = f"may only add seeds to {before.seeds}; choose another --run-id"
        raise UserError(message, key="repeat.seeds")


def list_changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lists the dotted keys of the values that differ between two configs."""
    return [row[0] for row in compare_configs([dict(old), dict(new)])]
