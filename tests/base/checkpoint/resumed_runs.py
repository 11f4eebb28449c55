"""Runs that are resumed from copies of checkpoints, and what is compared at their ends."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from base.checkpoint.sharded import find_shards
from tests.helpers import differences, load, make_trainer
from utils.checkpoints import list_checkpoints


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, without clock times."""
    lines = [json.loads(line) for line in (folder / "log/metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def load_last(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    return load(list_checkpoints(folder)[0])


def copy_checkpoint(path: Path, folder: Path) -> Path:
    """Copies a checkpoint into a new run folder, with the logs and the best model of its run.

    Returns:
        The path of the copy.
    """
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    shutil.copytree(path.parent / "log", folder / "log")
    best = path.parent / "model_best.pt"
    shards = {find_shards(path)}
    if best.is_file():
        shutil.copy(best, folder)
        shards.add(find_shards(best))
    for source in shards - {None}:
        shutil.copytree(source, folder / source.name)
    return folder / path.name


def check_same_end(folder: Path, expected: Path) -> None:
    """Two runs have ended with the same bits and the same metrics."""
    assert list_checkpoints(folder)[0].name == list_checkpoints(expected)[0].name
    assert differences(load_last(folder), load_last(expected)) == []
    assert read_lines(folder) == read_lines(expected)


def stop_in_validation(trainer: Any, batch: int) -> Any:
    """Trains, and asks to stop in the first validation, at a batch (of two passes with an EMA)."""
    criterion = trainer.criterion
    seen: list[Any] = []

    def asking(output: Any, target: Any) -> Any:
        if not trainer.model.training and trainer.progress.epoch == 1:
            seen.append(target)
            if len(seen) == batch:
                signal.raise_signal(signal.SIGUSR1)
        return criterion(output, target)

    trainer.criterion = asking
    trainer.train()
    assert len(seen) >= batch
    assert trainer.stop.status == 75
    return trainer


def full_and_resumed(
    tmp_path: Path, config: dict[str, Any], after: int, epochs: int = 4
) -> tuple[dict[str, Any], dict[str, Any], Any, Any]:
    """Trains without a stop, and once more from the checkpoint after the epoch ``after``.

    Returns:
        The final states of both runs, and their trainers.
    """
    config["trainer"] |= {"epochs": epochs}
    full = make_trainer(config, "full")
    full.train()
    checkpoint = full.checkpoint_dir / f"checkpoint-epoch{after}.pt"
    resumed = make_trainer(
        config, resume=copy_checkpoint(checkpoint, tmp_path / f"small/resumed{after}")
    )
    resumed.train()
    return load_last(full.checkpoint_dir), load_last(resumed.checkpoint_dir), full, resumed


def check_resuming(
    make: Callable[[str | None, Path | None], Any], pattern: str, at_least: int = 1
) -> Any:
    """A run that is resumed from any of its checkpoints ends as the one that never stopped.

    Args:
        make: ``make(run_id, resume)`` gives a trainer.
        pattern: of the names of the checkpoints to resume from.
        at_least: so many of them are expected.

    Returns:
        The trainer that never stopped.
    """
    full = make("full", None)
    full.train()
    checkpoints = sorted(full.checkpoint_dir.glob(pattern))
    assert len(checkpoints) >= at_least
    for path in checkpoints:
        folder = full.checkpoint_dir.with_name(path.stem)
        make(None, copy_checkpoint(path, folder)).train()
        check_same_end(folder, full.checkpoint_dir)
    return full
