"""A trial run in a temporary folder, which is deleted. Errors name the config key that is wrong."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, Protocol, cast

import torch

from base.base_trainer import BaseTrainer
from base.data.loader import list_sets
from base.data.worker import READING
from base.loop.evaluate import add_up
from base.loop.optimizer_modes import OptimizerModes
from base.loop.update import Update
from base.options import TrainerOptions
from base.run import RunFolder
from config.check.project import get_user_frames
from config.read.tree import ConfigError, Finding, Keys
from utils.batch import to_device
from utils.errors import UserError, name_error, one_line
from utils.failure import user_error_from
from utils.util import inf_loop

Limit = Callable[[list[Any]], list[Any]]


class Trial:
    """A trial run.

    Args:
        config: of the run. Its folder becomes a temporary one.

    Attributes:
        home: the folder of all runs with the name of this one.
        objects: those that the config describes, each with its key.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.home = Path(config.save_dir).parent
        self.objects: list[tuple[Keys, Any]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[RunFolder]:
        """Gives the run a temporary folder, and turns its trackers off.

        Raises:
            UserError: for any error. The text names the key of the object that was running, and the
                lines of the user's own code.
        """
        config = self.config
        with tempfile.TemporaryDirectory(prefix="trial-") as temporary:
            config["trainer"].update(tensorboard=False, wandb=None)  # nobody would look at them
            try:
                with RunFolder(config, Path(temporary)) as run:
                    yield run
            except ConfigError as error:
                cause = error.__cause__
                origin = cause.__cause__ if isinstance(cause, UserError) else None
                if origin is not None and (lines := list_user_lines(origin)):
                    raise UserError("\n".join([str(error), *lines])) from None
                if cause is None or isinstance(cause, UserError) or not get_user_frames(cause):
                    raise
                raise UserError(self._describe(cause, error.findings[0].keys)) from None
            except UserError:
                raise
            except Exception as error:
                keys: Keys = getattr(error, "config_keys", ())
                raise UserError(self._describe(error, keys)) from None

    def make(self, make_trainer: Callable[..., BaseTrainer], limit: Limit = list) -> BaseTrainer:
        """Makes the trainer, and remembers which object belongs to which key of the config.

        Args:
            make_trainer: of train.py.
            limit: replaces the training and validation loaders.
        """

        def note_and_limit(loaders: list[Any]) -> list[Any]:
            valid = "valid_data_loader" if self.config.get("valid_data_loader") else "data_loader"
            self._note_loader(("data_loader",), loaders[0])
            for name, loader in list_sets(loaders[1]):
                self._note_loader((valid, name) if name else (valid,), loader)
            return limit(loaders)

        logger = self.config.get_logger("train", verbosity=0)
        with self.config.locating_errors():
            trainer = make_trainer(self.config, logger, note_and_limit)
        self.objects += [(("arch",), trainer.model), (("loss",), trainer.criterion)]
        self.objects += [(("trainer",), trainer)]
        for index, metric in enumerate(trainer.metric_ftns):
            self.objects.append((("metrics", index), metric))
        return trainer

    def _note_loader(self, keys: Keys, loader: Any) -> None:
        self.objects += [(keys, loader), (keys, getattr(loader, "dataset", None))]

    def _describe(self, error: BaseException, keys: Keys) -> str:
        """Returns the key of the object that was running, the error, and the user's lines."""
        for frame, _ in reversed(list(walk_tb(error.__traceback__))):
            if not keys:
                keys = next((key for key, item in self.objects if runs_in(frame, item)), ())
        if not keys and "DataLoader worker" in str(error):
            keys = ("data_loader",)
        message = name_error(error)
        if (known := user_error_from(error)) is not None and known.problems[0].key == "loss":
            message = f"{type(error).__name__}: {known.problems[0].message}"  # with advice
        if "Original Traceback" in str(error):  # of a loader's worker, as text
            traceback = str(error).strip().splitlines()
            num_lines = 2 if traceback[-1].startswith(READING) else 1  # with the note of the reader
            message = one_line(ValueError(", ".join(traceback[-num_lines:])))
        lines = [str(Finding(self.config.tree.mark(keys) if keys else None, keys, message))]
        return "\n".join([*lines, *list_user_lines(error)])


def list_user_lines(error: BaseException) -> list[str]:
    """The lines of the user's code in a traceback, as text."""
    frames = get_user_frames(error)
    return [f"  {path}:{line} in {function}: {text}" for path, line, function, text in frames]


def runs_in(frame: FrameType, item: Any) -> bool:
    """Whether a frame runs ``item``: the function, or a method of the object or its submodules."""
    while isinstance(item, functools.partial):
        item = item.func
    if getattr(item, "__code__", None) is frame.f_code:
        return True
    owner = frame.f_locals.get("self")
    if owner is None:
        return False
    # `in` would compare, and torchmetrics' objects are equal to everything.
    modules = item.modules() if isinstance(item, torch.nn.Module) else (item,)
    return any(owner is module for module in modules)


class StepTrainer(Protocol):
    """A trainer whose loop consists of ``train_step`` and an ``Update``."""

    trainer_options: TrainerOptions
    model: Any
    optimizer: Any
    device: torch.device

    def train_step(self, batch: Any) -> tuple[Any, Any, Any]: ...


def as_step_trainer(trainer: BaseTrainer, option: str) -> StepTrainer:
    """Returns ``trainer``, whose loop must be that of ``trainer/trainer.py``.

    Args:
        trainer: of any class.
        option: of the command line, for the error.

    Raises:
        UserError: the trainer has a loop of its own.
    """
    loop = next(kind for kind in type(trainer).__mro__ if "_train_epoch" in vars(kind))
    if "train_step" not in vars(loop):
        raise UserError(f"{option}: {loop.__name__} has a training loop of its own")
    return cast(StepTrainer, trainer)


def cycle_batches(loader: Any) -> inf_loop:
    """Repeats the batches of a loader without end."""
    return loader if isinstance(loader, inf_loop) else inf_loop(loader)


def make_step(trainer: StepTrainer, **changes: Any) -> Callable[[Any], torch.Tensor | None]:
    """Makes a function that trains on a batch as the trainer does, but without logs or checkpoints.

    The function returns the loss if the batch ended an optimizer step, otherwise None.

    Args:
        trainer: its model and optimizer are used.
        changes: options that differ from the trainer's.
    """
    options = replace(
        trainer.trainer_options.without_averages(),
        warmup_steps=0,
        warmup=None,
        nan_policy="ignore",
        **changes,
    )
    update = Update(trainer.model, trainer.optimizer, options, trainer.device)
    trainer.model.train()
    OptimizerModes().start([trainer.optimizer])

    def step(batch: Any) -> torch.Tensor | None:
        with update.autocast():
            loss = add_up(trainer.train_step(to_device(batch, trainer.device))[0])
        update.backward(loss)
        return loss if update.step() else None

    return step
