"""Restores the objects of a TrainState from a checkpoint."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from base.checkpoint.best_files import describe_position
from base.checkpoint.changes import (
    RestoreReport,
    get_section,
    is_rescheduled,
    is_same_loss,
    list_changes,
)
from base.checkpoint.environment import LENGTH
from base.checkpoint.file import complete, load_newest
from base.checkpoint.held_loaders import HELD, find_held_loaders
from base.checkpoint.left_out import fill_weights, find_other_modules, get_left_out
from base.checkpoint.plain import restore_objects
from base.checkpoint.restore import (
    check_scheduler_state,
    check_types,
    complete_position,
    describe_order,
    restore_optimizer,
    state_of_this_rank,
)
from base.checkpoint.stateful import find_trackers
from base.checkpoint.weights import load_weights
from base.data.fitting import restore_fit
from base.data.loader import DividedLoader, find_saveable_loader
from base.loop.schedule_plan import follow_run, get_plan
from utils.distributed import broadcast, is_main
from utils.errors import UserError, one_line
from utils.seed import set_random_state

if TYPE_CHECKING:
    from base.checkpoint.train_state import TrainState


class Restoration:
    """Restores a run in two steps: the constructor, and ``finish`` when all objects exist.

    Args:
        target: the state of this run.
        path: the checkpoint. If it is damaged, the newest intact one before it is used.
        logger: gets a line that names the checkpoint.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another architecture or optimizer.
    """

    def __init__(self, target: TrainState, path: Path, logger: logging.Logger) -> None:
        self.target, self.logger = target, logger
        state, path = broadcast(load_newest(path, logger) if is_main() else None)
        check_types(state, path)
        state = complete(state, path, self._list_tensors())
        state = fill_weights(state, target.parallel.unwrap(target.objects["model"]), path)
        self.state = state
        self.old_config = state.get("config", {})  # pytorch-template saves it since April 2018
        self.new_config = target.config.plain()
        self.report = RestoreReport(path, state["epoch"], state.get("step", 0))
        self._has_new_schedule = False
        self._restore_model_and_optimizer(path)
        target.progress.finish_epoch(state["epoch"])
        self._restore_monitor()
        logger.info("Resuming from %s %s.", path, describe_position(state))

    def _list_tensors(self) -> dict[str, Any]:
        """The tensors of this run by dotted name, for ``like`` of ``TensorStore.read``."""
        objects = self.target.objects
        model = self.target.parallel.unwrap(objects["model"])
        named = {f"state_dict.{name}": value for name, value in model.state_dict().items()}
        optimizers = {"optimizer": objects["optimizer"]}
        stateful = self.target.list_stateful()
        optimizers |= {f"parts.{name}": item for name, item in stateful.items()}
        for name, optimizer in optimizers.items():
            groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
            parameters = chain.from_iterable(group["params"] for group in groups)
            named |= {f"{name}.state.{index}": p for index, p in enumerate(parameters)}
        return named

    def _restore_model_and_optimizer(self, path: Path) -> None:
        model, optimizer = self.target.objects["model"], self.target.objects["optimizer"]
        parallel = self.target.parallel
        load_weights(model, self.state["state_dict"], path, parallel)
        self.report.outcomes["weights"] = "kept"
        self.report.outcomes["optimizer"] = restore_optimizer(
            optimizer, model, parallel, self.state, self.new_config, path
        )

    def _restore_monitor(self) -> None:
        old = get_section(self.old_config, "trainer").get("monitor", "off")
        new = get_section(self.new_config, "trainer").get("monitor", "off")
        outcome = "reset, because trainer.monitor changed"
        if old == new:
            self.target.monitor.load_state_dict(self.state)
            outcome = "kept"
        self.report.outcomes["best, patience"] = outcome

    def finish(self) -> RestoreReport | None:
        """Restores all other objects, the position in the data and, last, the random state.

        Returns:
            How each object was restored; None for a checkpoint of pytorch-template.

        Raises:
            UserError: the state does not fit this trainer.
        """
        state = self.state
        if "parts" not in state:
            self.logger.warning(
                "This checkpoint of pytorch-template holds no scheduler, patience or random state."
            )
            return None
        try:
            self.target.progress.step = state["step"]
            self._restore_objects()
            self._restore_position()
            self._restore_held_loaders()
            if self._has_new_schedule:
                self._follow_run()
            random = state_of_this_rank(state["random"], state.get("random_of_ranks"))
            if random is not None and self._has_same_seed():
                set_random_state(random)
            self.report.changes = list_changes(self.old_config, self.new_config)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            message = f"{self.report.path}: its state does not fit this trainer: {one_line(error)}"
            raise UserError(message) from error
        before = state.get("environment", {})
        restore_fit(self.target.objects, before, self.logger)
        self.report.inexact += [
            f"{key} {before[key]} -> {value}"
            for key, value in self.target.get_environment().items()
            if before.get(key, value) != value
        ]
        return self.report

    def _restore_objects(self) -> None:
        """Restores schedulers, further optimizers and modules, and the Update.

        A scheduler is reset if its section, its length or the learning rate has changed.
        """
        objects, saved = self.target.list_stateful(), dict(self.state["parts"])
        objects.pop(HELD, None)  # see `_restore_held_loaders`
        saved.pop(HELD, None)
        left_out = get_left_out(self.state, "modules")
        self.report.inexact += [
            f"the weights of `{name}`, which the trainer's constructor makes"
            for name in find_other_modules(self.state, objects)
        ]
        self._leave_out_schedule(objects)
        if not is_same_loss(self.old_config, self.new_config) and objects.pop("criterion", None):
            self.report.outcomes["criterion"] = "reset, because loss changed"
        for name, item in objects.items():
            if name in left_out:
                self.report.outcomes[name] = "made again, as checkpoints leave it out"
                continue
            if name not in saved:
                self.report.outcomes[name] = "new, because the checkpoint has no state of it"
                continue
            state = restore_objects(saved[name], item.state_dict())
            if isinstance(item, Optimizer):
                model = self.target.objects["model"]
                self.target.parallel.load_optimizer_state(model, item, state)
            else:
                if isinstance(item, LRScheduler):
                    check_scheduler_state(item.state_dict(), state)
                item.load_state_dict(state)
            self.report.outcomes.setdefault(name, "kept")
        for name in (saved.keys() | left_out.keys()) - objects.keys():
            outcome = "not restored, because the trainer has no such object when it starts"
            self.report.outcomes.setdefault(name, outcome)

    def _leave_out_schedule(self, objects: dict[str, Any]) -> None:
        """Removes a scheduler that is reset, and those that it holds, from ``objects``."""
        plan = get_plan(self.target.objects["optimizer"])
        known = self.state.get("environment", {}).get(LENGTH)
        outcome = ""
        if is_rescheduled(self.old_config, self.new_config):
            outcome = "reset, because it or the learning rate changed"
        elif plan is not None and known not in (None, str(plan)):
            outcome = f"reset, because its length was {known} and is {plan} now"
        if not outcome:
            return
        names = {"lr_scheduler"}
        if plan is not None:
            names |= {name for name, item in objects.items() if item is plan.scheduler()}
        for name in list(objects):
            if name in names or name.startswith(tuple(f"{outer}." for outer in names)):
                del objects[name]
        self.report.outcomes["lr_scheduler"] = outcome
        self._has_new_schedule = True

    def _follow_run(self) -> None:
        """Moves a scheduler that was reset to the position in the run, if that is its length."""
        target = self.target
        accumulation = target.config["trainer"].get("accumulation_steps", 1)
        text = follow_run(target.objects["optimizer"], target.progress, accumulation)
        if text:
            self.logger.warning("lr_scheduler: %s.", text)

    def _restore_position(self) -> None:
        """Restores the position in the data. With another seed, the samples get a new order."""
        loader = find_saveable_loader(self.target.objects.get("data_loader"))
        saved = self.state["loader"]
        is_divided = isinstance(loader, DividedLoader)
        is_epoch = loader is self.target.objects.get("data_loader")  # and no pass of inf_loop's
        if loader is not None and saved is not None:
            seed = {} if self._has_same_seed() else {"seed": loader.seed}
            saved = complete_position(saved, self.old_config)
            loader.load_state_dict(saved | seed)
        epoch_so_far = self.state.get("within")
        in_pass = is_divided and (epoch_so_far is not None or not is_epoch)
        position = loader.state_dict() if in_pass else {}
        outcome = describe_order(self.old_config, self.new_config, saved or {}, position)
        self.report.outcomes["order, random numbers"] = outcome
        if epoch_so_far is None:
            if is_divided and saved is not None and is_epoch:
                # The next epoch needs a new pass, even if a project's loop left the last one early.
                loader.set_epoch(saved["passes"])
            return
        self.target.progress.batch = self.report.batch = epoch_so_far["place"]
        self.target.progress.is_validating = epoch_so_far.get("is_validating", False)
        self.target.progress.has_steps = True  # without them, there would be no such checkpoint
        is_same = saved is not None and saved.get("consumed") == epoch_so_far["place"]
        if in_pass and is_epoch and is_same:
            self.target.progress.batch = position["consumed"]  # in batches of the present size
        states = state_of_this_rank(epoch_so_far["trackers"], epoch_so_far.get("trackers_of_ranks"))
        if states is not None:
            for name, tracker in find_trackers(self.target.objects).items():
                tracker.load_state_dict(states[name])

    def _restore_held_loaders(self) -> None:
        """Restores the positions of all other loaders that the trainer holds."""
        held = find_held_loaders(self.target.objects)
        saved, epoch_so_far = self.state["parts"].get(HELD), self.state.get("within")
        len_epoch = self.target.objects.get("len_epoch")
        is_over = epoch_so_far is not None and epoch_so_far["place"] == len_epoch
        is_inside = epoch_so_far is not None
        self.report.unsaved = held.restore(saved, self._has_same_seed(), is_inside, is_over)
        if held.loaders:
            self.report.outcomes["other loaders"] = "kept" if saved else "new"

    def _has_same_seed(self) -> bool:
        return bool(self.old_config.get("seed") == self.new_config.get("seed"))
