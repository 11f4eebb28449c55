"""Collects the state of a run into one plain dict; ``restoration.py`` restores it."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from base.checkpoint.file import FORMAT
from base.data.loader import find_saveable_loader
from base.loop.progress import Monitor, Progress
from base.parallel.strategy import Parallel
from utils.distributed import all_gather
from utils.seed import get_random_state

if TYPE_CHECKING:
    from base.checkpoint.changes import RestoreReport
    from base.checkpoint.restoration import Restoration


class TrainState:
    """Collects everything that training needs to continue, and restores it.

    Args:
        owner: an object such as a trainer, whose attributes are saved. They may be added later.
        parallel: the strategy.
        progress: the counters of the run.
        monitor: the best value and the patience.
        config: the ConfigParser of the run.
    """

    def __init__(
        self, owner: object, parallel: Parallel, progress: Progress, monitor: Monitor, config: Any
    ) -> None:
        from base.checkpoint.left_out import LeftOut
        from base.loop.optimizer_modes import OptimizerModes

        # A reference cycle would let the workers of a trainer's loader outlive the trainer.
        self._owner = weakref.ref(owner)
        self.parallel, self.progress, self.monitor = parallel, progress, monitor
        self.config = config
        self.sharded = bool(config["trainer"].get("sharded_checkpoint"))
        self.left_out = LeftOut(config, self.objects["model"], parallel)
        self.modes = OptimizerModes()
        self._restoration: Restoration | None = None  # between ``resume`` and ``restore_rest``

    @property
    def objects(self) -> dict[str, Any]:
        """The owner's attributes by name."""
        return vars(self._owner())

    # -- finding the objects --------------------------------------------------------------------

    def list_stateful(self) -> dict[str, Any]:
        """The schedulers, further optimizers, modules and the Update, by name."""
        from base.checkpoint.stateful import find_stateful

        return find_stateful(self.objects)

    def get_environment(self) -> dict[str, Any]:
        """The facts that must not change if a resumed run shall have the same bits."""
        from base.checkpoint.environment import describe_environment

        return describe_environment(self.objects)

    # -- collecting -----------------------------------------------------------------------------

    def collect(self, random_state: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns everything that training needs to continue, as tensors and plain values.

        During a validation, ``random_state`` is that of its start: a resumed run repeats it.

        Raises:
            UserError: an object's state has a value that no checkpoint can hold.
        """
        from base.checkpoint.nested import map_tensors
        from base.checkpoint.plain import make_saveable
        from base.checkpoint.stateful import collect_epoch

        model, optimizer = self.objects["model"], self.objects["optimizer"]
        random = all_gather(get_random_state() if random_state is None else random_state)
        loader = find_saveable_loader(self.objects.get("data_loader"))
        stateful = self.list_stateful()
        with self.modes.evaluating():
            objects = {
                "state_dict": self.parallel.model_state(model, self.sharded),
                "optimizer": self.parallel.optimizer_state(model, optimizer, self.sharded),
                "parts": {name: self._state_of(item) for name, item in stateful.items()},
            }
            objects = self.left_out.reduce(objects, self.objects, stateful)
            objects = map_tensors(objects, self.modes.copy_switched)
        state = {
            "format": FORMAT,
            "arch": self.parallel.class_name(model),
            "epoch": self.progress.epoch - 1,
            "step": self.progress.step,
            **objects,
            "loader": None if loader is None else loader.state_dict(),
            "random": random[0],
            "random_of_ranks": random if len(random) > 1 else None,
            "config": self.config.plain(),
            "environment": self.get_environment(),
            **collect_epoch(self.objects, self.progress),
        }
        known = (model, optimizer, *stateful.values())
        return make_saveable(state | self.monitor.state_dict(), known)

    def _state_of(self, item: Any) -> Any:
        if isinstance(item, Optimizer):
            return self.parallel.optimizer_state(self.objects["model"], item, self.sharded)
        return item.state_dict()

    # -- restoring ------------------------------------------------------------------------------

    def resume(self, path: Path, logger: logging.Logger) -> None:
        """Restores model, optimizer, counters and monitor, which constructors may read.

        Raises:
            UserError: the checkpoint is missing, damaged, or of another architecture.
        """
        from base.checkpoint.restoration import Restoration

        self._restoration = Restoration(self, path, logger)

    def restore_rest(self) -> RestoreReport | None:
        """Restores all other objects, when they exist; returns None if there is nothing to do.

        Raises:
            UserError: the state does not fit this trainer, or no checkpoint can hold that of an
                object.
        """
        from base.checkpoint.stateful import check_states

        check_states(self.objects)  # an error after the first epoch would come late
        self.left_out.note_modules(self.objects, self.list_stateful())
        restoration, self._restoration = self._restoration, None
        report = None if restoration is None else restoration.finish()
        self.modes.start([self.objects["optimizer"], *self.list_stateful().values()])
        return report
