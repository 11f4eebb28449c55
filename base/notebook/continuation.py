"""Continuation: ``trainer.train()`` in a later cell goes on in the folder of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from base.base_trainer import BaseTrainer
from base.notebook.call import make_command
from base.notebook.session import call_in_cell, pass_on_signal
from base.run import RunFolder
from config import ConfigParser
from utils.checkpoints import list_checkpoints
from utils.errors import UserError
from utils.seed import get_random_state, seed_everything, set_random_state


class Continuation:
    """Trains on where the trainer has stopped, as a resumed run does, but with the same objects.

    Made at the end of a training, whose random numbers it continues.

    Args:
        trainer: after its training, or a stop.
        config: of the trainer.
    """

    def __init__(self, trainer: BaseTrainer, config: ConfigParser) -> None:
        self._trainer, self._config = trainer, config
        self._train = trainer.train
        self._random_state = get_random_state()
        self._folder = Path.cwd()

    def __call__(self) -> None:
        """Trains the epochs that are left, until a request to stop.

        Raises:
            RunError: the user can do something about the error that ended it.
        """
        call_in_cell(self._go_on)
        pass_on_signal(self._trainer)

    def _go_on(self) -> None:
        config = self._config
        if Path.cwd() != self._folder:
            message = f"this run was started in {self._folder}; change back to that folder"
            raise UserError(f"{message} to go on")
        if not config.save_dir.is_dir():
            raise UserError(f"{config.save_dir}: the folder of this run is gone; start another run")
        if config.facts.get("command") is not None:
            config.facts["command"] = make_command(["-r", str(config.save_dir)])
        with _resuming(config), RunFolder(config) as run, config.locating_errors():
            seed_everything(config.seed, config["trainer"].get("deterministic", True))
            set_random_state(self._random_state)
            run.describe(self._trainer)
            try:
                self._train()
            finally:
                self._random_state = get_random_state()
            run.conclude(self._trainer)


@contextlib.contextmanager
def _resuming(config: ConfigParser) -> Iterator[None]:
    """Inside, the config is that of a run that resumes its newest checkpoint."""
    before = config.resume
    config.resume = next(iter(list_checkpoints(config.save_dir)), before)
    try:
        yield
    finally:
        config.resume = before
