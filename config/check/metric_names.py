"""The names under which the metrics of a config are logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from config.check.checker import get_name

COLLECTION, BOX_METRIC = "MetricCollection", "MeanAveragePrecision"
# Of MeanAveragePrecision. The others depend on its arguments and on the classes of the data.
BOX_NUMBERS = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
)
BOX_PATTERNS = ("map_per_class_*", "mar_*", "bbox_ma[pr]*", "segm_ma[pr]*")


def list_metric_names(nodes: Sequence[Any]) -> list[str]:
    """Lists the names of the numbers of metrics, and patterns of those that they may log.

    Args:
        nodes: the list of metrics in a config.
    """
    names = [get_name(node) for node in nodes]
    single = [name for name in names if name != BOX_METRIC]
    patterns = [pattern for name in names for pattern in _list_patterns(name)]
    return [*single, *patterns]


def _list_patterns(name: str) -> tuple[str, ...]:
    if name == COLLECTION:  # without a name, it logs its keys, which only the objects in it know
        return ("*",)
    return (*BOX_NUMBERS, *BOX_PATTERNS) if name == BOX_METRIC else (f"{name}_*",)
