"""What a trainer's checkpoint holds beside the weights, and how it comes back."""

from __future__ import annotations

import logging
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from base.checkpoint.file import duplicate, sweep
from base.loop.update import Update
from base.parallel.sharding import class_of, cut_state, is_sharded, whole
from base.parallel.strategy import unwrap
from config.read.section import to_plain
from config.read.text import flatten, to_text
from config.read.tree import join_keys
from utils.checkpoints import BEST, sweep_shards
from utils.distributed import all_gather, is_main, rank, world_size
from utils.errors import UserError, one_line
from utils.seed import get_random_state, set_random_state
from utils.util import MetricTracker

FORMAT = 1  # of our checkpoints
KINDS: dict[str, Any] = {
    "monitor_best": int | float,
    "not_improved_count": int,
    "best": list,
    "parts": dict,
}
_KINDS = (Optimizer, LRScheduler, nn.Module, torch.amp.GradScaler, Update)


def parts_of(trainer: Any) -> dict[str, Any]:
    """What else has a state: schedulers, further optimizers and modules, ``update``; by attribute name."""
    known = {id(module) for module in trainer.model.modules()} | {id(trainer.optimizer)}
    parts = {
        name: part
        for name, part in vars(trainer).items()
        if isinstance(part, _KINDS) and id(part) not in known
    }
    return {
        name: part
        for name, part in parts.items()
        if not isinstance(part, nn.Module) or part.state_dict()
    }


def loader_of(trainer: Any) -> Any:
    """The training loader if its position can be saved; behind ``inf_loop`` too."""
    loader = getattr(trainer, "data_loader", None)
    loader = getattr(loader, "loader", loader)
    return loader if hasattr(loader, "load_state_dict") else None


def trackers_of(trainer: Any) -> dict[str, MetricTracker]:
    """What measures the epoch that is being trained; validation starts afresh."""
    valid = getattr(trainer, "valid_metrics", None)
    return {
        name: part
        for name, part in vars(trainer).items()
        if isinstance(part, MetricTracker) and part is not valid
    }


def within(trainer: Any) -> dict[str, Any]:
    """Where a loop is in its epoch, and what it has measured so far."""
    trackers = trackers_of(trainer)
    ranks = all_gather({name: tracker.state_dict() for name, tracker in trackers.items()})
    if len(ranks) == 1:
        return {"place": trainer.place, "trackers": ranks[0]}
    whole = {
        name: tracker.merged([states[name] for states in ranks])
        for name, tracker in trackers.items()
    }
    return {"place": trainer.place, "trackers": whole, "trackers_of_ranks": ranks}


def reposition(trainer: Any) -> None:
    """Lets the next pass of a loop that was left be the rest of the one that it left."""
    loader = loader_of(trainer)
    if loader is not None and loader is trainer.data_loader:
        loader.load_state_dict(loader.state_dict())


def environment(trainer: Any) -> dict[str, Any]:
    """What must be the same for a resumed run to end with the same bits."""
    loader = loader_of(trainer)
    return {
        "torch": str(torch.__version__),
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "device": trainer.device.type,
        "samples": getattr(loader, "n_samples", None),
    }


def state_of(trainer: Any, epoch: int) -> dict[str, Any]:
    """All that what comes after ``epoch`` depends on, as tensors and plain values."""
    loader = loader_of(trainer)
    random = all_gather(trainer._random or get_random_state())
    state = {
        "format": FORMAT,
        "arch": class_of(unwrap(trainer.model)).__name__,
        "epoch": epoch,
        "step": trainer.steps_done(),
        "state_dict": unwrap(trainer.model).state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "monitor_best": float(trainer.mnt_best),
        "not_improved_count": trainer.not_improved_count,
        "best": [[value, place] for value, place in trainer._saver.best],
        "parts": {name: part.state_dict() for name, part in parts_of(trainer).items()},
        "loader": loader.state_dict() if loader is not None else None,
        "random": random[0],
        "random_of_ranks": random if len(random) > 1 else None,
        "config": trainer.config.plain(),
        "environment": environment(trainer),
    }
    return (
        whole(state)
        if is_sharded(trainer.model) and not trainer._options.sharded_checkpoint
        else state
    )


def restore_optimizer(
    optimizer: Optimizer, state: dict[str, Any], config: dict[str, Any], path: Path
) -> str:
    """Restores the optimizer if its type is the same; arguments that the config changed since then win.

    Args:
        state: the checkpoint's.
        config: the config now.
        path: of the checkpoint, for the error.

    Returns:
        What became of it, in words.
    """
    was, now = section_of(state["config"], "optimizer"), section_of(config, "optimizer")
    anew = _schedule(state["config"]) != _schedule(config)
    regrouped = _grouping(state["config"]) != _grouping(config)
    why = "`transfer` trains by other groups now: the optimizer" if regrouped else ""
    if was.get("type", now["type"]) != now["type"]:
        why = f"The optimizer was {was['type']} and is {now['type']} now: it"
    if why:
        logging.getLogger("trainer").warning("%s starts anew.", why)
        return "starts anew"
    given = [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(cut_state(optimizer, state["optimizer"]))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: the optimizer's state does not fit: {one_line(error)}") from None
    old, new = section_of(was, "args"), section_of(now, "args")
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for group, values in zip(optimizer.param_groups, given, strict=True):
        # A schedule that starts anew does so from the rates that it prepared.
        keys = [key for key in values if key != "params"] if anew else changed
        group.update({key: values[key] for key in keys if key in values})
    return f"kept, with {', '.join(changed)} as the config says now" if changed else "kept"


def restore_best(trainer: Any, state: dict[str, Any]) -> None:
    """Restores the best value and the patience, if the same number is monitored."""
    if section_of(state["config"], "trainer").get("monitor", "off") != trainer.monitor:
        trainer.fates["best, patience"] = "start anew, as trainer.monitor changed"
        return
    trainer.fates["best, patience"] = "kept"
    trainer.mnt_best = state.get("monitor_best", trainer.mnt_best)
    trainer.not_improved_count = state.get("not_improved_count", 0)
    known = (
        [[trainer.mnt_best, 0]] if abs(trainer.mnt_best) < inf and trainer.mnt_mode != "off" else []
    )
    trainer._saver.best = [(float(value), int(epoch)) for value, epoch in state.get("best", known)]


def restore_rest(trainer: Any, state: dict[str, Any], path: Path) -> None:
    """Restores the parts, the data's order and, last, the random numbers; then tells what became of what.

    Raises:
        UserError: the state does not fit this trainer.
    """
    logger = trainer.logger
    if "parts" not in state:
        logger.warning(
            "This checkpoint of pytorch-template holds no scheduler, patience or random state."
        )
        return
    trainer._metrics_file.drop_after(state["epoch"])
    try:
        trainer._saver.steps = state["step"]
        if is_main():
            _restore_best_file(trainer, path)
            sweep_shards(trainer.checkpoint_dir)
    except OSError as error:
        raise UserError(
            f"{trainer.checkpoint_dir / BEST}: cannot be written: {error.strerror}"
        ) from None
    try:
        _restore_parts(trainer, state)
        random = _own(state["random"], state.get("random_of_ranks"))
        if random is not None and state["config"].get("seed") == trainer.config.plain().get("seed"):
            set_random_state(random)
        _tell(trainer, state)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: its state does not fit this trainer: {one_line(error)}"
        ) from error
    if trainer.steps_done():  # how a loop of the project's own counts its steps is not known
        trainer.writer.resume_at(trainer.steps_done() + 1)


def _own(whole: Any, of_ranks: list[Any] | None) -> Any:
    """This rank's part of a state; with another number of ranks than it has parts, all of it is the main one's."""
    if len(of_ranks or [whole]) == world_size():
        return (of_ranks or [whole])[rank()]
    return whole if is_main() else None


def _restore_best_file(trainer: Any, path: Path) -> None:
    """Makes ``model_best.pt`` that of the checkpoint's time: a kill may have come before it, or the run goes back."""
    saver, folder = trainer._saver, trainer.checkpoint_dir
    sweep(folder)
    if not saver.best or path.parent != folder:
        return
    epoch = saver.best[0][1]
    for name in (BEST.replace(".", f"-epoch{epoch}."), f"checkpoint-epoch{epoch}.pt"):
        if (folder / name).is_file():
            duplicate(folder / name, folder / BEST)
            return


def _restore_parts(trainer: Any, state: dict[str, Any]) -> None:
    """A schedule whose section or learning rate changed starts anew; so does the order of samples with another seed."""
    parts, was, now = parts_of(trainer), state["config"], trainer.config.plain()
    if _schedule(was) != _schedule(now):
        parts.pop("lr_scheduler", None)
        trainer.fates["lr_scheduler"] = "starts anew, as it or the learning rate changed"
    for name, part in parts.items():
        if name in state["parts"]:
            if isinstance(part, LRScheduler):
                _check_like(part.state_dict(), state["parts"][name])
            saved = state["parts"][name]
            part.load_state_dict(cut_state(part, saved) if isinstance(part, Optimizer) else saved)
            trainer.fates.setdefault(name, "kept")
    loader, inside = loader_of(trainer), state.get("within")
    same_seed = was.get("seed") == now.get("seed")
    trainer.fates["order, random numbers"] = "kept" if same_seed else "start anew, as seed changed"
    if loader is not None and state["loader"] is not None:
        loader.load_state_dict(state["loader"] | ({} if same_seed else {"seed": loader.seed}))
        if (
            loader is trainer.data_loader and inside is None
        ):  # an epoch is a pass of its own, however that before ended
            loader.set_epoch(state["loader"]["passes"])
    if inside is not None:
        trainer.place = inside["place"]
        trackers = _own(inside["trackers"], inside.get("trackers_of_ranks"))
        for name, tracker in trackers_of(trainer).items() if trackers is not None else ():
            tracker.load_state_dict(trackers[name])


def _check_like(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """A scheduler takes whatever it is given for its attributes, its methods among them. Raises ValueError."""
    numbers = (int, float)
    for key, value in saved.items():
        like = numbers if isinstance(own.get(key), numbers) else type(own.get(key))
        if key not in own or not (value is None or own[key] is None or isinstance(value, like)):
            raise ValueError(f"a scheduler's {key} is no {type(value).__name__}")


def _tell(trainer: Any, state: dict[str, Any]) -> None:
    """What the config says otherwise than before, what became of each part, and which promise cannot be kept."""
    was, now = flatten(to_plain(state["config"])), flatten(trainer.config.plain())
    both = [(join_keys(keys), was.get(keys), now.get(keys)) for keys in {**was, **now}]
    changes = [f"  {key}: {to_text(old)} -> {to_text(new)}" for key, old, new in both if old != new]
    if changes:
        fates = [f"  {name:<22} {fate}" for name, fate in trainer.fates.items()]
        trainer.logger.warning(
            "\n".join(["Changed since the checkpoint:", *changes, "So of the run:", *fates])
        )
    before, here = state.get("environment", {}), environment(trainer)
    other = [
        f"{key} {before[key]} -> {here[key]}"
        for key in here
        if before.get(key, here[key]) != here[key]
    ]
    if other:
        message = f"not the same bits as without a stop: {', '.join(other)}"
        if trainer._options.on_inexact_resume == "stop":
            raise UserError(message)
        trainer.logger.warning("From here on %s.", message)


def section_of(config: Any, name: str) -> dict[str, Any]:
    """A section of a checkpoint's config, whoever wrote it; empty when it has none."""
    try:
        section = config[name]
    except (KeyError, TypeError):
        return {}
    return section if isinstance(section, dict) else {}


def _grouping(config: Any) -> list[Any]:
    """What decides which parameters the optimizer has, in which groups."""
    transfer = section_of(config, "transfer")
    return [
        transfer.get(key)
        for key in ("head", "freeze", "thaw", "param_groups", "layer_decay", "no_decay")
    ]


def _schedule(config: Any) -> tuple[Any, Any]:
    optimizer = section_of(config, "optimizer")
    return section_of(config, "lr_scheduler"), (
        optimizer.get("type"),
        section_of(optimizer, "args").get("lr"),
    )
