"""ConfigParser: reads the config of one experiment and makes its objects."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from config.check import preflight
from config.check.schema import Schema
from config.check.unread import find_unread_keys, may_be_read_later
from config.command_line import make_run_id, read_command_line
from config.processes import get_process_settings
from config.read.section import forget_read_keys
from config.read.tree import Tree, join_keys
from config.template import TemplateBuilder
from utils.errors import UserError
from utils.log import get_logger
from utils.world import ProcessSettings

LOG_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}  # by verbosity


class ConfigParser(TemplateBuilder):
    """The config of one experiment: a dict with attribute access that also makes its objects.

    Args:
        config: the values; ``from_args`` reads them from files.
        resume: the checkpoint to resume from.
        modification: values to set, by targets such as ``optimizer;args;lr``; None sets nothing.
        run_id: the name of the run's folder; the time by default.

    Attributes:
        args: the parsed command line; None without one.
        has_explicit_run_id: whether the caller chose the ``run_id``.
        group: the folder of a search or a repetition to continue, which is also ``save_dir``.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Tree,
        resume: str | Path | None = None,
        modification: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__(config, modification)
        self.resume = Path(resume) if resume is not None else None
        self.args: Any = None
        self.group: Path | None = None
        self.facts: dict[str, Any] = {}  # about this program, for provenance.json
        self.has_explicit_run_id = run_id is not None
        self.run_id = run_id or make_run_id()
        self._folder = self.resume.parent if self.resume is not None and run_id is None else None
        self._has_custom_loop = True
        self._logged_keys: set[str] = set()  # that nothing has read

    @classmethod
    def from_args(
        cls, args: argparse.ArgumentParser | Any, options: Iterable[Any] = ()
    ) -> ConfigParser:
        """Reads the command line and the files that it names.

        Args:
            args: a parser with ``--config``, ``--resume`` and ``--device``, or its result.
                A parser gets two more arguments: ``--run-id`` and ``KEY=VALUE``.
            options: ``CustomArgs(flags, type, target)``, each of which sets one value.

        Raises:
            UserError: a file, an override or an option is wrong.
        """
        command_line = read_command_line(args, options)
        config = cls(command_line.tree, command_line.resume, run_id=command_line.run_id)
        config.args, config.group = command_line.args, command_line.group
        return config

    def move_to(self, folder: Path) -> None:
        """Makes ``folder`` the run's folder, whatever the config says."""
        self._folder = folder

    @property
    def save_dir(self) -> Path:
        """The run's folder, for its checkpoints and its config. It may not exist yet."""
        if folder := self._folder or self.group:
            return folder
        parent = self.config["trainer"].get("save_dir", "saved/")
        return Path(parent, self.config["name"], self.run_id).expanduser()

    @property
    def log_dir(self) -> Path:
        """The folder of the run's logs, inside ``save_dir``. It may not exist yet."""
        return self.save_dir / "log"

    def process_settings(self) -> ProcessSettings:
        """Returns the number of processes and their timeouts; invalid values give the defaults."""
        return get_process_settings(self.get("parallel"), self.get("n_gpu"))

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """Returns a logger; ``verbosity`` is 0 (warnings), 1 (info) or 2 (debug)."""
        if verbosity not in LOG_LEVELS:
            raise UserError(f"verbosity {verbosity!r} must be 0, 1 or 2")
        return get_logger(name, LOG_LEVELS[verbosity])

    def check(self, schema: Schema) -> None:
        """Compares every component with the signature of what it names, and keeps ``schema``.

        Raises:
            ConfigError: the config has mistakes; the error lists all of them.
        """
        self.schema = schema
        checker = preflight.check(self.tree, schema)
        self._has_custom_loop = checker.has_custom_loop
        self.resolved = {**checker.resolved, ("trainer",): self.trainer_class()}
        forget_read_keys(self.config)  # the check has read every key

    def unread_keys(self, has_trained: bool = False) -> list[str]:
        """Returns the project's own keys that nothing has read.

        Those that a trainer may read in its loop are known after the training.
        """
        with_trainer, is_saved = has_trained or not self._has_custom_loop, self.resume is not None
        keys = find_unread_keys(
            self.tree, self.get_schema(), self.referenced, with_trainer, is_saved
        )
        if not has_trained and keys:
            trainer_class = self.trainer_class()
            keys = [path for path in keys if not may_be_read_later(path, trainer_class)]
        return [join_keys(path) for path in keys]

    def log_unread_keys(self, logger: logging.Logger, has_trained: bool = False) -> None:
        """Logs a warning that names the unread keys, if there are any; each once."""
        unread = [key for key in self.unread_keys(has_trained) if key not in self._logged_keys]
        self._logged_keys.update(unread)
        if unread:
            names = ", ".join(map(repr, unread))
            logger.warning("Nothing has read these keys of the config: %s", names)
