"""The state of a run: collected into one plain dict for a checkpoint, and restored from one.

What a checkpoint holds, by key:

- ``state_dict``, ``optimizer``, ``arch``: the model's and the optimizer's state, the model's class.
- ``epoch``, ``step``: epochs finished and optimizer steps done.
- ``within``: in the middle of an epoch, the batches taken and the metrics so far.
- ``monitor_best``, ``not_improved_count``, ``best``: the monitor's state.
- ``parts``: schedulers, further optimizers and modules, and ``update``, by attribute name.
- ``loader``: seed and position in the data.
- ``random``: the random numbers' state; ``random_of_ranks`` if several ranks train.
- ``config``, ``environment``: to tell what a resumed run changes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from base.checkpoint.file import FORMAT, find_store, load_newest
from base.data.loader import DividedLoader, unwrap_loader
from base.loop.progress import Monitor, Progress
from base.loop.update import Update
from base.parallel.strategy import Parallel
from utils.distributed import all_gather, broadcast, is_main, world_size
from utils.errors import UserError, one_line
from utils.seed import get_random_state, set_random_state
from utils.util import MetricTracker

if TYPE_CHECKING:
    from base.checkpoint.changes import RestoreReport

PART_KINDS = (Optimizer, LRScheduler, nn.Module, torch.amp.GradScaler, Update)


class TrainState:
    """Collects everything that training needs to continue, and restores it.

    Args:
        objects: by attribute name, whatever the trainer holds; looked at when it is needed, as a
            subclass adds more. ``model``, ``optimizer`` and ``data_loader`` are known by name,
            ``valid_metrics`` is left out, as a validation starts afresh.
        parallel: the strategy.
        progress: the run's counters.
        monitor: the best value and patience.
        config: of the run; ``plain()`` gives its values.
    """

    def __init__(
        self,
        objects: Mapping[str, Any],
        parallel: Parallel,
        progress: Progress,
        monitor: Monitor,
        config: Any,
    ) -> None:
        self.objects = objects
        self.parallel, self.progress, self.monitor = parallel, progress, monitor
        self.config = config
        self.sharded = bool(config["trainer"].get("sharded_checkpoint"))
        self._resumed: tuple[dict[str, Any], RestoreReport] | None = None  # restored in part

    # -- what there is --------------------------------------------------------------------------

    def list_stateful(self) -> dict[str, Any]:
        """Schedulers, further optimizers and modules, ``update``; by attribute name."""
        model, optimizer = self.objects["model"], self.objects["optimizer"]
        known = {id(module) for module in model.modules()} | {id(optimizer)}
        return {
            name: part
            for name, part in self.objects.items()
            if isinstance(part, PART_KINDS)
            and id(part) not in known
            and (not isinstance(part, nn.Module) or part.state_dict())
        }

    def list_trackers(self) -> dict[str, MetricTracker]:
        """What measures the epoch that is being trained, by attribute name."""
        return {
            name: tracker
            for name, tracker in self.objects.items()
            if isinstance(tracker, MetricTracker) and name != "valid_metrics"
        }

    def find_loader(self) -> Any:
        """The training loader if its position can be saved, also inside ``inf_loop``; else None."""
        loader = unwrap_loader(self.objects.get("data_loader"))
        return loader if hasattr(loader, "load_state_dict") else None

    def get_environment(self) -> dict[str, Any]:
        """What must be the same for a resumed run to end with the same bits."""
        loader = self.find_loader()
        return {
            "torch": str(torch.__version__),
            "processes": world_size(),
            "threads": torch.get_num_threads(),
            "device": self.objects["device"].type,
            "samples": loader.n_samples if isinstance(loader, DividedLoader) else None,
        }

    # -- collecting -----------------------------------------------------------------------------

    def collect(self, random_state: dict[str, Any] | None = None) -> dict[str, Any]:
        """Everything that training needs to continue, as tensors and plain values.

        Args:
            random_state: at the start of a validation, which is done again when the run resumes;
                None takes the present one.
        """
        model, optimizer = self.objects["model"], self.objects["optimizer"]
        random = all_gather(get_random_state() if random_state is None else random_state)
        loader = self.find_loader()
        state = {
            "format": FORMAT,
            "arch": self.parallel.class_name(model),
            "epoch": self.progress.epoch - 1,
            "step": self.progress.step,
            "state_dict": self.parallel.model_state(model, self.sharded),
            "optimizer": self.parallel.optimizer_state(model, optimizer, self.sharded),
            "parts": {name: self._part_state(part) for name, part in self.list_stateful().items()},
            "loader": None if loader is None else loader.state_dict(),
            "random": random[0],
            "random_of_ranks": random if len(random) > 1 else None,
            "config": self.config.plain(),
            "environment": self.get_environment(),
        }
        if self.progress.batch:
            state["within"] = self._epoch_so_far()
        return state | self.monitor.state_dict()

    def _part_state(self, part: Any) -> Any:
        if isinstance(part, Optimizer):
            return self.parallel.optimizer_state(self.objects["model"], part, self.sharded)
        return part.state_dict()

    def _epoch_so_far(self) -> dict[str, Any]:
        trackers = self.list_trackers()
        states = all_gather({name: tracker.state_dict() for name, tracker in trackers.items()})
        epoch_so_far: dict[str, Any] = {"place": self.progress.batch, "trackers": states[0]}
        if len(states) > 1:
            epoch_so_far["trackers_of_ranks"] = states
            epoch_so_far["trackers"] = {
                name: tracker.merge_states([state[name] for state in states])
                for name, tracker in trackers.items()
            }
        return epoch_so_far

    # -- restoring ------------------------------------------------------------------------------

    def resume(self, path: Path, logger: logging.Logger) -> None:
        """Restores what a constructor may look at: model, optimizer, counters, monitor.

        ``restore_rest`` follows when all objects have been made.

        Args:
            path: of the checkpoint; if it is damaged, the newest good one before it is taken.
            logger: is told which one it was.

        Raises:
            UserError: it is missing, damaged, or of another architecture or optimizer.
        """
        from base.checkpoint.changes import RestoreReport, get_section
        from base.checkpoint.restore import check_types, restore_optimizer
        from base.checkpoint.weights import load_weights

        state, path = broadcast(load_newest(path, logger) if is_main() else None)
        check_types(state, path)
        state = find_store(state).read(state, path, self._named_tensors())
        old, new = state["config"], self.config.plain()
        model, optimizer = self.objects["model"], self.objects["optimizer"]
        report = RestoreReport(path, state["epoch"], state.get("step", 0))
        load_weights(model, state["state_dict"], path, self.parallel)
        report.outcomes["weights"] = "kept"
        outcome = restore_optimizer(optimizer, model, self.parallel, state, new, path)
        report.outcomes["optimizer"] = outcome
        self.progress.finish_epoch(state["epoch"])
        monitors = [get_section(config, "trainer").get("monitor", "off") for config in (old, new)]
        if monitors[0] == monitors[1]:
            self.monitor.load_state_dict(state)
            report.outcomes["best, patience"] = "kept"
        else:
            report.outcomes["best, patience"] = "start anew, as trainer.monitor changed"
        self._resumed = state, report
        logger.info("Resuming from %s after epoch %d.", path, state["epoch"])

    def _named_tensors(self) -> dict[str, Any]:
        """The tensors here whose shards are all that this rank needs of a checkpoint's tensors."""
        model = self.parallel.unwrap(self.objects["model"])
        named = {f"state_dict.{name}": value for name, value in model.state_dict().items()}
        optimizers = {"optimizer": self.objects["optimizer"]}
        optimizers |= {f"parts.{name}": part for name, part in self.list_stateful().items()}
        for name, optimizer in optimizers.items():
            groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
            parameters = chain.from_iterable(group["params"] for group in groups)
            named |= {f"{name}.state.{number}": p for number, p in enumerate(parameters)}
        return named

    def restore_rest(self) -> RestoreReport | None:
        """Restores the parts, the position in the data and, last, the random numbers.

        Returns:
            What became of each part; None if nothing is left to restore.

        Raises:
            UserError: the state does not fit this trainer.
        """
        from base.checkpoint.changes import list_changes
        from base.checkpoint.restore import state_of_this_rank

        if self._resumed is None:
            return None
        (state, report), self._resumed = self._resumed, None
        if "parts" not in state:
            logging.getLogger("trainer").warning(
                "This checkpoint of pytorch-template holds no scheduler, patience or random state."
            )
            return None
        old, new = state["config"], self.config.plain()
        try:
            self.progress.step = state["step"]
            self._restore_stateful(state, report)
            self._restore_position(state, report)
            random = state_of_this_rank(state["random"], state.get("random_of_ranks"))
            if random is not None and old.get("seed") == new.get("seed"):
                set_random_state(random)
            report.changes = list_changes(old, new)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            message = f"{report.path}: its state does not fit this trainer: {one_line(error)}"
            raise UserError(message) from error
        before = state.get("environment", {})
        report.inexact = [
            f"{key} {before[key]} -> {value}"
            for key, value in self.get_environment().items()
            if before.get(key, value) != value
        ]
        return report

    def _restore_stateful(self, state: dict[str, Any], report: RestoreReport) -> None:
        """A schedule whose section or learning rate changed starts anew."""
        from base.checkpoint.changes import is_rescheduled
        from base.checkpoint.restore import check_scheduler_state

        stateful = self.list_stateful()
        if is_rescheduled(state["config"], self.config.plain()):
            stateful.pop("lr_scheduler", None)
            report.outcomes["lr_scheduler"] = "starts anew, as it or the learning rate changed"
        for name, part in stateful.items():
            if name not in state["parts"]:
                continue
            saved = state["parts"][name]
            if isinstance(part, Optimizer):
                self.parallel.load_optimizer_state(self.objects["model"], part, saved)
            else:
                if isinstance(part, LRScheduler):
                    check_scheduler_state(part.state_dict(), saved)
                part.load_state_dict(saved)
            report.outcomes.setdefault(name, "kept")

    def _restore_position(self, state: dict[str, Any], report: RestoreReport) -> None:
        """The order of samples starts anew with another seed; the position in the epoch stays."""
        from base.checkpoint.restore import state_of_this_rank

        same_seed = state["config"].get("seed") == self.config.plain().get("seed")
        outcome = "kept" if same_seed else "start anew, as seed changed"
        report.outcomes["order, random numbers"] = outcome
        loader, epoch_so_far = self.find_loader(), state.get("within")
        if loader is not None and state["loader"] is not None:
            seed = {} if same_seed else {"seed": loader.seed}
            loader.load_state_dict(state["loader"] | seed)
            is_repeated = loader is not self.objects["data_loader"]  # by inf_loop: it goes on
            if epoch_so_far is None and isinstance(loader, DividedLoader) and not is_repeated:
                # The next epoch is a new pass, even if the last one was left early.
                loader.set_epoch(state["loader"]["passes"])
        if epoch_so_far is None:
            return
        self.progress.batch = epoch_so_far["place"]
        states = state_of_this_rank(epoch_so_far["trackers"], epoch_so_far.get("trackers_of_ranks"))
        for name, tracker in self.list_trackers().items() if states is not None else ():
            tracker.load_state_dict(states[name])
