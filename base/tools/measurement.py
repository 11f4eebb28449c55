"""Measurement: how long a run would take, as ``train.py --check`` finds out.

``--check`` writes it as JSON into the file that an environment variable names. So a program that
plans many runs need not read the table, which is for people.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from base.base_trainer import BaseTrainer
from base.data.loader import list_sets
from base.options import TrainerOptions
from base.tools.first_batches import FirstBatches
from utils.batch import batch_size_of, num_batches

VARIABLE = "PLAINLOOP_MEASUREMENT"
LOADED_BATCHES = 20
LOADING_SECONDS = 2.0  # no more batches are loaded after this time


@dataclass(frozen=True)
class Measurement:
    """The parts of a run, and the seconds that they take.

    Attributes:
        batches: of an epoch; None if the data has no length.
        epochs: of the run, which ``early_stop`` may end sooner.
        batch_seconds: for a batch of training, with its loading.
        validations: of the run.
        validation_seconds: for one validation, with its loading.
        saves: the number of checkpoints.
        save_seconds: for one checkpoint.
        started: the time when the training began, in seconds since 1970.
        is_cached: whether ``transfer.cache_features`` runs most of the model, and loads the data,
            in the first pass only. The time of the later ones is not measured.
    """

    batches: int | None
    epochs: int
    batch_seconds: float
    validations: int
    validation_seconds: float
    saves: int
    save_seconds: float
    started: float
    is_cached: bool = False

    @property
    def seconds(self) -> float | None:
        """The seconds of the run from its first batch on; None if the data has no length."""
        if self.batches is None:
            return None
        training = self.batches * (1 if self.is_cached else self.epochs) * self.batch_seconds
        validation = (1 if self.is_cached else self.validations) * self.validation_seconds
        return training + validation + self.saves * self.save_seconds

    @classmethod
    def read(cls, path: Path) -> Measurement:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def write_measurement(
    trainer: BaseTrainer, options: TrainerOptions, batches: int | None, times: Mapping[str, float]
) -> None:
    """Writes the Measurement, if the environment names a file for it.

    Args:
        trainer: has trained and validated on ``FirstBatches``.
        options: of the run.
        batches: of an epoch; None if unknown.
        times: ``batch_seconds``, ``save_seconds`` and ``started``.
    """
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    length = options.get_length(batches)
    epochs = length.epochs
    if batches is not None and length.steps is not None:  # max_steps may end it inside an epoch
        batches = min(batches, math.ceil(length.steps * options.accumulation_steps / epochs))
    validations = epochs
    if options.validate_steps is not None and length.steps is not None:
        validations += length.steps // options.validate_steps
    train = trainer.data_loader
    waiting = measure_loading(train, times["batch_seconds"])
    Measurement(
        batches=batches,
        epochs=epochs,
        batch_seconds=times["batch_seconds"] + waiting,
        validations=validations,
        validation_seconds=measure_validation(trainer, train, times["batch_seconds"]),
        saves=math.ceil(epochs / options.save_period),
        save_seconds=times["save_seconds"],
        started=times["started"],
        is_cached=bool((trainer.config.get("transfer") or {}).get("cache_features")),
    ).write(Path(path))


def measure_validation(trainer: BaseTrainer, train: Any, batch_seconds: float) -> float:
    """Returns the seconds of a validation on all sets; averages of the weights count too.

    The first batch of a validation includes one-time set-up. So its time is limited to that of
    training on as many samples.
    """
    total = 0.0
    for _, loader in list_sets(getattr(trainer, "valid_data_loader", None)):
        if not isinstance(loader, FirstBatches) or not loader.seconds:
            continue
        limit = batch_seconds * _count_samples(loader) / max(_count_samples(train), 1)
        seconds = sum(min(item, limit) for item in loader.seconds)
        per_batch = seconds + len(loader.seconds) * measure_loading(loader, seconds)
        total += per_batch * (num_batches(loader.loader) or 0)
    return total


def _count_samples(loader: Any) -> int:
    batches = loader.batches if isinstance(loader, FirstBatches) else []
    return batch_size_of(*reversed(batches[0])) if batches else 1


def measure_loading(loader: Any, step_seconds: float) -> float:
    """Returns the seconds that a step waits for its batch. Workers load while it computes."""
    if not isinstance(loader, FirstBatches):
        return 0.0
    batches = iter(loader.loader)
    next(batches, None)  # which starts the workers
    count, start = 0, time.perf_counter()
    for _ in islice(batches, LOADED_BATCHES):
        count += 1
        if time.perf_counter() - start > LOADING_SECONDS:
            break
    seconds = (time.perf_counter() - start) / max(count, 1)
    has_workers = getattr(loader.loader, "num_workers", 0) > 0
    return max(0.0, seconds - step_seconds) if has_workers else seconds
