"""RunFolder: makes the folder of a run, describes the run in it, and removes it if it is empty."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shlex
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO

from base.commands import format_summary, get_command
from base.data.worker_processes import end_workers
from base.loop.logged_names import has_training_objective
from config import ConfigParser
from config.check.preflight import MAX_RUN_ID_WORDS
from logger.backends.backend import BackEnd
from logger.logger import close_files, log_to_files, setup_logging
from logger.visualization import close_writers
from utils.checkpoints import CONFIG, find_group, list_checkpoints
from utils.distributed import broadcast, get_restarted_run_folder, is_main, set_run_folder
from utils.errors import UserError, name_error
from utils.files import lock_file
from utils.provenance import ProvenanceFile, write_durably
from utils.run_files import set_run_folders
from utils.stop import StopProgram, get_program_request
from utils.util import ensure_dir, read_json


class RunFolder:
    """The folder of a run, as a context: ``with RunFolder(config) as run:``.

    The main rank makes and locks the folder, and writes log files into it. If torchrun has
    restarted the ranks, the run continues in the folder of the earlier ranks, from their newest
    checkpoint. If a UserError ends a run before it has weights, the folder is removed.

    Args:
        config: names the folder. If two runs start in the same second, the later one appends a
            number to its ``config.run_id``.
        folder: an existing folder to use instead, such as a temporary one for a trial. The caller
            deletes it.

    Raises:
        UserError: on entering, if the folder cannot be made or holds another run.
    """

    def __init__(self, config: ConfigParser, folder: Path | None = None) -> None:
        self.config = config
        self._explicit_folder = folder
        self._is_new = False  # whether this object has made the folder
        self._is_log_new = False
        self._stop_reason = ""
        self._lock: IO[bytes] | None = None
        self._provenance = ProvenanceFile()

    @property
    def save_dir(self) -> Path:
        """The folder."""
        return Path(self.config.save_dir)

    def __enter__(self) -> RunFolder:
        if is_main():
            self._open()
        resume = self.config.resume
        shared = broadcast((str(self.save_dir), None if resume is None else str(resume)))
        if not is_main():
            self.config.move_to(Path(shared[0]))
            self.config.resume = None if shared[1] is None else Path(shared[1])
        set_run_folders(self.save_dir, self.config.resume)
        return self

    def describe(self, trainer: object = None) -> None:
        """Writes ``config.json``, and adds a session to ``provenance.json``.

        Args:
            trainer: of the run, if it was made.

        Raises:
            UserError: the files cannot be written.
        """
        if not is_main():
            return
        is_resumed = self.config.resume is not None
        try:
            write_durably(self.save_dir / "config.json", self.config.plain())
            facts = {"training_objective": has_training_objective(type(trainer))}
            facts |= self.config.facts
            self._provenance.begin(self.save_dir, self.config.changes(), is_resumed, facts)
        except OSError as error:
            raise UserError(f"{self.save_dir}: cannot be written: {error.strerror}") from None

    def conclude(self, trainer: object) -> int:
        """Logs the commands to use next, after the training has ended.

        Args:
            trainer: a trainer of any class. One of a project may lack the attributes of ours.

        Returns:
            The exit status: 0 if the training is finished, else that of the request to stop.
        """
        self.config.log_unread_keys(logging.getLogger("train"), has_trained=True)
        stop = getattr(trainer, "stop", None)
        if stop is not None and stop.status:
            self.note_stop(stop.reason)
            return int(stop.status)
        metric, best = getattr(trainer, "mnt_metric", ""), getattr(trainer, "mnt_best", None)
        option = "epochs" if self.config["trainer"].get("max_steps") is None else "max_steps"
        logging.getLogger("train").info(format_summary(self.save_dir, metric, best, option))
        return 0

    def note_stop(self, reason: str) -> None:
        """Records why the run ends early, and logs the command that continues it."""
        self._stop_reason = reason
        logging.getLogger("train").info("Continue with: %s", self._resume_command())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        set_run_folders(None, None)
        is_mistake = isinstance(error, UserError)
        if error is not None:
            self._log_failure(error)
        self._provenance.end(self._get_outcome(error))
        if is_mistake and self._is_new and self.save_dir.is_dir() and not self._holds_results():
            self._remove()
        elif is_mistake and self._is_log_new and not self._provenance.has_begun:
            self._close_logs()
            shutil.rmtree(self.config.log_dir, ignore_errors=True)
        elif isinstance(error, KeyboardInterrupt | StopProgram) and self._holds_weights():
            print(f"Continue with: {self._resume_command()}")
        if self._explicit_folder is not None:
            self._close_logs()  # the caller may delete the folder now
        if self._lock is not None:
            self._lock.close()
        end_workers()  # a notebook keeps the last traceback, and with it the loaders

    def _log_failure(self, error: BaseException) -> None:
        """Logs why the run ends. A run that ends while it is made gets its description."""
        if not is_main():
            return
        is_mistake = isinstance(error, UserError)
        if not is_mistake and not self._provenance.has_begun:
            with contextlib.suppress(UserError):
                self.describe()
        if not self._stop_reason and not isinstance(error, KeyboardInterrupt | StopProgram):
            with contextlib.suppress(Exception):  # for example, no memory is left
                message = f"The run has failed: {name_error(error)}"
                log_to_files(message, None if is_mistake else error)

    def _open(self) -> None:
        self._refuse_another_home()
        if self._explicit_folder is not None:
            self.config.move_to(self._explicit_folder)
        elif earlier := get_restarted_run_folder():
            self.config.move_to(Path(earlier))
            self.config.resume = next(iter(list_checkpoints(Path(earlier))), None)
            self.config.has_explicit_run_id = True
        try:
            if self._explicit_folder is None:
                self._refuse_links()
                if self.config.resume is None:
                    self._refuse_mixing()
                self._make()
            self._is_log_new = not self.config.log_dir.exists()
            ensure_dir(self.config.log_dir)
            self._lock = lock_file(self.config.log_dir / ".lock")
            setup_logging(self.config.log_dir)
        except OSError as error:
            self._remove()
            message = f"the run folder cannot be made: {error.strerror}"
            raise UserError(f"{self.save_dir}: {message}") from None
        if self._explicit_folder is None:
            set_run_folder(str(self.save_dir))

    def _make(self) -> None:
        first_id = self.config.run_id
        for count in itertools.count(2):
            try:
                self.save_dir.mkdir(parents=True)
                self._is_new = True
                return
            except FileExistsError:
                if not self.save_dir.is_dir():  # a file is in the way
                    raise
            resume = self.config.resume
            if resume is not None and resume.parent.resolve() == self.save_dir.resolve():
                return
            if self.config.has_explicit_run_id:
                self._refuse_another_run()
                return
            self.config.run_id = f"{first_id}-{count}"

    def _list_parents(self) -> list[Path]:
        """Lists the folders between the config's ``save_dir`` and this one, the outermost first."""
        depth = len(Path(self.config.run_id).parts)
        return list(reversed(self.save_dir.parents[:depth]))

    def _refuse_mixing(self) -> None:
        """Raises UserError if a new run would lie inside another, or around others."""
        for parent in self._list_parents():
            if (parent / CONFIG).is_file():
                raise UserError(f"{parent}: is a run, and cannot hold others")
        if find_group(self.save_dir) or any(self.save_dir.glob(f"*/{CONFIG}")):
            raise UserError(f"{self.save_dir}: holds several runs; choose another --run-id")

    def _refuse_another_run(self) -> None:
        if list_checkpoints(self.save_dir):
            message = "holds a run already; continue it with -r, or choose another --run-id"
            raise UserError(f"{self.save_dir}: {message}")

    def _refuse_another_home(self) -> None:
        """Raises UserError if a resumed run, which stays in its folder, gets another name."""
        resume = self.config.resume
        if resume is None or self.config.has_explicit_run_id:
            return
        name, save_dir = self.config["name"], self.config["trainer"].get("save_dir", "saved/")
        home = Path(save_dir, name)
        if home.resolve() in list(resume.parent.resolve().parents)[:MAX_RUN_ID_WORDS]:
            return
        saved = {"name": name, "trainer": {}}
        with contextlib.suppress(OSError, ValueError):  # the config is missing or damaged
            saved |= read_json(resume.parent / "config.json")
        message = f"a resumed run stays in {resume.parent}; with --run-id ID, it goes on in {home}"
        if saved["name"] != name:
            raise UserError(message, key="name")
        if saved["trainer"].get("save_dir", save_dir) != save_dir:
            raise UserError(message, key="trainer.save_dir")

    def _refuse_links(self) -> None:
        """Raises UserError if a symbolic link would let the run write elsewhere.

        A new run must stay below the config's ``save_dir``, and a resumed run in its folder.
        """
        is_resumed = self.config.resume is not None and not self.config.has_explicit_run_id
        between = self._list_parents()
        home = self.save_dir if is_resumed else between[0].parent
        above = [] if is_resumed else [*between, self.save_dir]
        from base import features

        harmless = [pattern for kind in features.of_kind(BackEnd) for pattern in kind.links]
        for path in (*above, *self.save_dir.rglob("*")):
            if not path.is_symlink():
                if path.exists() and not path.is_file() and not path.is_dir():
                    raise UserError(f"{path}: is neither a file nor a folder")
                continue
            leads_out = not Path(os.path.realpath(path)).is_relative_to(home.resolve())
            if leads_out and not any(path.match(f"log/{pattern}") for pattern in harmless):
                message = f"is a symbolic link that leads out of {home}; remove it"
                raise UserError(f"{path}: {message}")

    def _get_outcome(self, error: BaseException | None) -> str:
        if self._stop_reason:
            return f"stopped by {self._stop_reason}"
        if error is None:
            return "finished"
        if isinstance(error, KeyboardInterrupt):
            return "interrupted"
        if isinstance(error, StopProgram):
            return f"stopped by {error.reason}"
        if reason := get_program_request().reason:  # a library has made another error of it
            return f"stopped by {reason}"
        return f"failed: {name_error(error)}"

    def _holds_results(self) -> bool:
        """Whether an epoch has ended, or a checkpoint is written."""
        metrics = self.config.log_dir / "metrics.jsonl"
        return self._holds_weights() or (metrics.is_file() and metrics.stat().st_size > 0)

    def _holds_weights(self) -> bool:
        return any(path.suffix in (".pt", ".pth") for path in self.save_dir.rglob("*"))

    def _resume_command(self) -> str:
        return f"{get_command('train.py')} -r {shlex.quote(str(self.save_dir))}"

    def _close_logs(self) -> None:
        close_writers(Path(self.config.log_dir))
        close_files()

    def _remove(self) -> None:
        self._close_logs()
        if self._is_new:
            shutil.rmtree(self.save_dir, ignore_errors=True)
            for parent in reversed([self._list_parents()[0].parent, *self._list_parents()]):
                with contextlib.suppress(OSError):  # it holds other runs
                    parent.rmdir()
