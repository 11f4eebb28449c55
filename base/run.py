"""The folder of a run: made, described, and taken away again if a mistake ended the run before it held anything."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from logger.logger import close_files, setup_logging
from utils.checkpoints import list_checkpoints
from utils.distributed import broadcast, get_restarted_run_folder, is_main, set_run_folder
from utils.errors import UserError, one_line
from utils.files import atomic_write, lock_file
from utils.provenance import collect_provenance, timestamp
from utils.util import ensure_dir, read_json


class RunFolder:
    """``with RunFolder(…) as run:`` around everything that a run makes. Of several ranks, the main one makes it.

    Where torchrun has started the ranks again, it is the folder of those before, from their newest checkpoint on.

    Args:
        config: a ConfigParser; its ``save_dir`` is the folder. Where two runs start in the same second, the later one
            counts its ``run_id`` up.

    Raises:
        UserError: it cannot be made, or holds another run.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.made = self.made_log = False
        self._outcome = ""
        self._lock: IO[bytes] | None = None
        self._sessions: list[dict[str, Any]] = []

    @property
    def save_dir(self) -> Path:
        return Path(self.config.save_dir)

    def __enter__(self) -> RunFolder:
        if is_main():
            self._enter()
        place = broadcast((str(self.save_dir), self.config.resume and str(self.config.resume)))
        if not is_main():
            self.config.move_to(Path(place[0]))
            self.config.resume = place[1] and Path(place[1])
        return self

    def _enter(self) -> None:
        if folder := get_restarted_run_folder():
            self.config.move_to(Path(folder))
            self.config.resume = next(iter(list_checkpoints(Path(folder))), None)
            self.config.run_id_given = True
        try:
            self._make()
            setup_logging(self.config.log_dir)
        except OSError as error:
            self._discard()
            raise UserError(
                f"{self.save_dir}: the run folder cannot be made: {error.strerror}"
            ) from None
        set_run_folder(str(self.save_dir))

    def _make(self) -> None:
        self._refuse_links()
        first_id = self.config.run_id
        for count in itertools.count(2):
            try:
                self.save_dir.mkdir(parents=True)
                self.made = True
            except FileExistsError:
                if not self.save_dir.is_dir():  # something else is in the way
                    raise
                if self.config.resume is None and not self.config.run_id_given:
                    self.config.run_id = f"{first_id}-{count}"
                    continue
                if self.config.resume is None and list_checkpoints(self.save_dir):
                    message = "holds a run already; go on with it by -r, or choose another --run-id"
                    raise UserError(f"{self.save_dir}: {message}") from None
            break
        self.made_log = not self.config.log_dir.exists()
        ensure_dir(self.config.log_dir)
        self._lock = lock_file(self.config.log_dir / ".lock")

    def _refuse_links(self) -> None:
        """No symbolic link leads what a run writes out of ``save_dir``."""
        resumed = self.config.resume is not None and not self.config.run_id_given
        home = self.save_dir if resumed else self.save_dir.parent.parent
        above = () if resumed else (self.save_dir.parent, self.save_dir)
        for path in (*above, *self.save_dir.rglob("*")):
            if not path.is_symlink() and path.exists() and not (path.is_file() or path.is_dir()):
                raise UserError(f"{path}: is neither a file nor a folder")
            if path.match(
                "log/wandb/*/logs/debug-core.log"
            ):  # W&B's own link to its log; nothing comes back to it
                continue
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(
                home.resolve()
            ):
                raise UserError(
                    f"{path}: is a symbolic link that leads out of {home}; nothing is written there"
                )

    def describe(self) -> None:
        """Writes ``config.json``, and in ``provenance.json`` one more session: command, changes, code, machine."""
        if not is_main():
            return
        path = self.save_dir / "provenance.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            self._sessions = [] if self.config.resume is None else list(read_json(path)["sessions"])
        self._sessions.append(
            collect_provenance()
            | {"changes": self.config.changes(), "end": None, "outcome": "running"}
        )
        try:
            _write(self.save_dir / "config.json", self.config.plain())
            _write(path, {"sessions": self._sessions})
        except OSError as error:
            raise UserError(f"{self.save_dir}: cannot be written: {error.strerror}") from None

    def stopped(self, reason: str) -> None:
        """Notes why the run ends before its end, and tells how to go on."""
        self._outcome = f"stopped by {reason}"
        logging.getLogger("train").info(
            "Go on with: %s train.py -r %s", command_of_python(), self.save_dir
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        if self._sessions:
            outcome = (
                "finished"
                if error is None
                else "interrupted"
                if interrupted
                else f"failed: {one_line(error)}"
            )
            outcome = self._outcome or outcome
            self._sessions[-1] |= {"end": timestamp(), "outcome": outcome}
            with contextlib.suppress(OSError):
                _write(self.save_dir / "provenance.json", {"sessions": self._sessions})
        if (
            isinstance(error, UserError)
            and self.made
            and self.save_dir.is_dir()
            and not self._holds_weights()
        ):
            self._discard()
        elif isinstance(error, UserError) and self.made_log and not self._sessions:
            close_files()
            shutil.rmtree(self.config.log_dir, ignore_errors=True)
        elif interrupted and self._holds_weights():
            print(f"Go on with: {command_of_python()} train.py -r {self.save_dir}")
        if self._lock is not None:
            self._lock.close()

    def _holds_weights(self) -> bool:
        return any(path.suffix in (".pt", ".pth") for path in self.save_dir.rglob("*"))

    def _discard(self) -> None:
        close_files()
        if self.made:
            shutil.rmtree(self.save_dir, ignore_errors=True)
            for parent in (self.save_dir.parent, self.save_dir.parent.parent):
                with contextlib.suppress(OSError):  # other runs are in it
                    parent.rmdir()


def _write(path: Path, content: Any) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=4).encode() + b"\n")


def summary(save_dir: Path, metric: str, best: float | None) -> str:
    """What to do next with a finished run: where it is, and the commands that go on from it."""
    python = command_of_python()
    lines = [f"Run folder: {save_dir}"]
    if metric and best is not None:
        lines.insert(0, f"Best {metric}: {best:.6g}")
    commands = {
        "test": f"{python} test.py -r {save_dir}",
        "go on": f"{python} train.py -r {save_dir} trainer.epochs=N",
        "watch": f"{python} -m tensorboard.main --logdir {save_dir.parent}",
    }
    return "\n".join(lines + [f"  to {name:6} {command}" for name, command in commands.items()])


def command_of_python() -> str:
    """This interpreter as one types it: ``python`` where that is it, else its path from here."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
