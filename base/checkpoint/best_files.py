"""The files of the best epochs of a run that resumes: no best value stays without its model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch

from base.checkpoint.file import duplicate, list_tensor_files, load, remove_unused_files, save
from base.checkpoint.retention import best_name
from base.loop.progress import Monitor, Tag
from utils.checkpoints import BEST, TEMPLATE_BESTS
from utils.distributed import broadcast, is_main
from utils.errors import UserError

UNKNOWN_EPOCH = 0  # of a best value in a checkpoint of pytorch-template


def restore_best_files(
    folder: Path, checkpoint: Path, monitor: Monitor, keep_best: int, logger: logging.Logger
) -> None:
    """Writes ``model_best.pt`` and ``model_best-epochN.pt`` again, from other checkpoints.

    A killed run may not have written them. If a run resumes from an earlier checkpoint, they may be
    those of later epochs. If it continues in another folder, they are in the old one. All ranks
    must call this. ``monitor`` forgets the epochs without an intact file.

    Args:
        folder: the folder of the run. Leftovers of interrupted saves in it are deleted.
        checkpoint: the run resumes from it.
        monitor: ranks the best epochs.
        keep_best: the number of best epochs to keep.
        logger: gets a warning that names the epochs without a file.

    Raises:
        UserError: a file cannot be written.
    """
    missing: list[Tag] = []
    if is_main():
        try:
            missing = _find_missing(folder, checkpoint, monitor.list_best_epochs(), keep_best)
            remove_unused_files(folder)  # also shards of a best model that was replaced
        except OSError as error:
            raise UserError(f"{folder}: cannot be written to: {error.strerror}") from None
    _forget(monitor, broadcast(missing), logger)


def _find_missing(
    folder: Path, checkpoint: Path, epochs: Sequence[Tag], keep_best: int
) -> list[Tag]:
    """Restores the files of the best epochs; returns the epochs without an intact file."""
    is_same_folder = checkpoint.parent.resolve() == folder.resolve()
    missing: list[Tag] = []
    for epoch in epochs:
        names = [best_name(epoch)] if keep_best > 1 else []
        names += [BEST] if epoch == epochs[0] else []
        if epoch == UNKNOWN_EPOCH:
            found = is_same_folder or _copy_of_template(checkpoint.parent, folder)
        elif is_same_folder:
            found = _restore(folder, checkpoint, epoch, names)
        else:
            found = _copy(folder, checkpoint, epoch, names)
        if not found:
            missing.append(epoch)
    return missing


def _list_sources(checkpoint: Path, epoch: Tag) -> Iterator[Path]:
    """Yields the files that may hold the model of an epoch."""
    names = (best_name(epoch), f"checkpoint-epoch{epoch}.pt", BEST)
    yield from filter(Path.is_file, (checkpoint.with_name(name) for name in names))
    yield checkpoint


def _restore(folder: Path, checkpoint: Path, epoch: Tag, names: list[str]) -> bool:
    for source in _list_sources(checkpoint, epoch):
        if source.name in (BEST, checkpoint.name) and not _is_of_epoch(source, epoch):
            continue
        for name in names:
            duplicate(source, folder / name)
        return True
    return False


def _is_of_epoch(path: Path, epoch: Tag) -> bool:
    """Whether a checkpoint was written after this epoch. Its tensors are not read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return get_tag(state) == epoch
    except Exception:  # a damaged file raises almost anything
        return False


def get_tag(state: dict[str, Any]) -> Tag | None:
    """The tag of a checkpoint: its epoch, or a position inside an epoch. None if it has none."""
    epoch_so_far = state.get("within")
    tag: Tag | None = state.get("epoch") if epoch_so_far is None else epoch_so_far.get("tag")
    return tag


def describe_position(state: dict[str, Any]) -> str:
    """Says in words when a checkpoint was written."""
    if state.get("within") is None:
        return f"after epoch {state.get('epoch')}"
    step = str(get_tag(state)).partition("-step")[2]  # older checkpoints have no tag
    return f"in epoch {state['epoch'] + 1}" + (f", after step {step}" if step else "")


def _copy(folder: Path, checkpoint: Path, epoch: Tag, names: list[str]) -> bool:
    for source in _list_sources(checkpoint, epoch):
        state = None
        with contextlib.suppress(UserError):  # it is damaged
            state = load(source)
        if state is None or get_tag(state) != epoch:
            continue
        for name in names:
            if list_tensor_files(source):
                save(state, folder / name)
            else:
                duplicate(source, folder / name)
        return True
    return False


def _copy_of_template(source: Path, folder: Path) -> bool:
    for name in (BEST, *TEMPLATE_BESTS):
        if (source / name).is_file():
            duplicate(source / name, folder / name)
            return True
    return False


def _forget(monitor: Monitor, epochs: Sequence[Tag], logger: logging.Logger) -> None:
    """Removes epochs without a file from the ranking, so that a later one can be the best."""
    if not epochs:
        return
    best = monitor.best
    monitor.best_epochs = [item for item in monitor.best_epochs if item[1] not in epochs]
    remaining = [value for value, _ in monitor.best_epochs]
    monitor.best = remaining[0] if remaining else {"min": inf, "max": -inf}.get(monitor.mode, 0.0)
    logger.warning(
        "There is no intact file of the best epochs %s (%s %.6g): they do not count any more.",
        ", ".join(map(str, epochs)),
        monitor.metric,
        best,
    )
