"""The interface between the writer and a tracker such as TensorBoard or Weights & Biases."""

from __future__ import annotations

import importlib
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from logger.background import Background

PATIENCE_SECONDS = 4.0  # the longest wait of a training for a back end that hangs


class RunFacts(NamedTuple):
    """What a back end may know about the run.

    Attributes:
        log_dir: the folder of the run's logs.
        config: the resolved config in plain values.
        is_resumed: whether the run continues from a checkpoint.
        logger: gets the warning of a back end that fails.
    """

    log_dir: Path
    config: dict[str, Any]
    is_resumed: bool
    logger: logging.Logger


class BackEnd(Background, ABC):
    """One tracker, which is opened and written to in its own thread.

    A new back end is a file with a subclass, and an import line in ``base/features.py``. The
    subclass says how the tracker is opened. The tracker is any object with methods named as those
    of ``torch.utils.tensorboard.SummaryWriter``; methods that it lacks are left out.

    Attributes:
        option: the option of the config's ``trainer`` that turns it on.
        title: names it in warnings.
        module: the tracker's library.
        links: patterns of symbolic links that the library itself leaves in the folder of the logs.
    """

    option: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]
    links: ClassVar[tuple[str, ...]] = ()

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(self.title, logger, PATIENCE_SECONDS)
        self._tracker: Any = None

    @classmethod
    @abstractmethod
    def from_run(cls, run: RunFacts, options: Any) -> BackEnd | None:
        """Makes the back end of a run.

        Args:
            run: facts about the run.
            options: the value of ``trainer.OPTION``: plain values, None if it is missing.

        Returns:
            The back end; None if the options turn it off.
        """

    @abstractmethod
    def open(self) -> Any:
        """Returns the open tracker. Runs in the thread of the back end, before its first call."""

    @property
    def tracker(self) -> Any:
        """The tracker, opened at the first use. Only for the thread of the back end."""
        if self._tracker is None:
            self._tracker = self.open()
        return self._tracker

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Calls a method of the tracker in the background. Does nothing if it has no such method.

        Args:
            method: its name.
            args: passed to it. A ``functools.partial`` is first replaced by its result, also in
                the background.
            kwargs: passed to it.
        """
        if self.enabled:
            self.import_module()
            self.submit(method, lambda: self._call(method, args, kwargs))

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        function = getattr(self.tracker, method, None)
        if function is not None:
            values = (value() if isinstance(value, partial) else value for value in args)
            function(*values, **kwargs)

    def import_module(self) -> None:
        """Imports the tracker's library in the thread of the caller.

        It cannot run in the background: workers of a data loader that are forked during an import
        would inherit a half-imported module. Some libraries draw random numbers at their import, so
        the random state is restored.
        """
        if self.module not in sys.modules:
            from utils.seed import temporary_seed

            with temporary_seed(0):
                self.attempt("import", lambda: importlib.import_module(self.module))

    def close(self) -> None:
        """Ends the tracker. It opens again at the next call."""
        if self.started:
            self.call("close")
            super().close()
        self._tracker = None

    # Only some trackers can do the following. For the others, the methods do nothing.

    def resume_at(self, step: int) -> None:
        """Prepares for values from ``step`` on that an interrupted run may have written before."""

    def add_graph(self, model: Any, inputs: Any = None, **kwargs: Any) -> None:
        """Shows the model's graph, traced with ``inputs``."""

    def watch(self, model: Any) -> None:
        """Observes the model's parameters or gradients, if the options ask for it."""

    def add_artifact(self, path: Path) -> None:
        """Stores a file with the run, if the options ask for it."""


def make_back_ends(
    kinds: Iterable[type[BackEnd]], options: Mapping[str, Any], run: RunFacts
) -> list[BackEnd]:
    """Makes the back ends that the options turn on.

    Args:
        kinds: the classes to choose from.
        options: the config's ``trainer`` in plain values.
        run: facts about the run.
    """
    candidates = [kind.from_run(run, options.get(kind.option)) for kind in kinds]
    return [back_end for back_end in candidates if back_end is not None]
