"""The register of optional features: one import line for each.

The core names no feature elsewhere. It asks for the classes of a kind (``of_kind(Watcher)``), or
for the class that serves an option (``get_serving("debug")``). To remove a feature, delete its line
and its files. The rest of the framework still works.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, TypeVar

from base.checkpoint.file import TensorStore
from base.checkpoint.sharded import ShardedStore  # trainer.sharded_checkpoint
from base.groups.repeat import Repeat  # the section repeat
from base.groups.search import Search  # the section search
from base.loop.watcher import Watcher
from base.tools.box_traps import BoxTraps  # boxes and labels that a detector does not learn from
from base.tools.collectors.boxes import BoxCollector  # what reports show of a detection
from base.tools.collectors.masks import Masks  # of a segmentation
from base.tools.collectors.series import SeriesRows  # of forecasts
from base.tools.collectors.tokens import TokenScores  # of texts
from base.tools.debug import Debug  # trainer.debug
from base.tools.display import Display  # pictures, curves and the graph, for the trackers
from base.tools.histograms import Histograms  # trainer.histogram_period
from base.tools.report import Report  # the report of test.py
from base.transfer.transfer import Transfer  # the section transfer
from logger.backends.backend import BackEnd
from logger.backends.wandb import WandbBackEnd  # trainer.wandb
from utils.errors import UserError

Kind = TypeVar("Kind")


def of_kind(kind: type[Kind]) -> list[type[Kind]]:
    """Lists the registered subclasses of ``kind``, in the order of the lines above."""
    found: list[type[Kind]] = []
    for value in globals().values():
        if inspect.isclass(value) and issubclass(value, kind) and value is not kind:
            found.append(value)
    return found


def check_served(options: Iterable[str]) -> None:
    """Raises UserError if the feature of one of these options of ``trainer`` was removed."""
    for option in options:
        get_serving(option)


def get_serving(option: str) -> Any:
    """Returns the registered class that serves an option of ``trainer``.

    Raises:
        UserError: no registered class serves the option.
    """
    features: list[Any] = [*of_kind(TensorStore), *of_kind(Watcher), *of_kind(BackEnd)]
    for feature in features:
        if feature.option == option:
            return feature
    message = "this project has no feature for it: see base/features.py"
    raise UserError(message, key=f"trainer.{option}")
