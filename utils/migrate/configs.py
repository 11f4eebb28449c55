"""The configs of a project: which there are, and what of them ours does not take."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line

LARGEST = 1_000_000  # bytes; a larger JSON file is data


@dataclass
class Config:
    """One JSON file that holds a config."""

    path: str
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""  # why ours cannot read it

    @property
    def n_gpu(self) -> float:
        found = self.values.get("n_gpu")
        return found if isinstance(found, int | float) else 0


def find(folder: Path, names: list[str]) -> list[Config]:
    """The configs among the files of a project: JSON objects with a ``trainer`` and one more of the template's keys."""
    found = []
    load_tree = importlib.import_module("config.read.merge").load_tree
    for name in names:
        path = folder / name
        if path.suffix != ".json" or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError):
            continue
        if (
            not isinstance(values, dict)
            or not isinstance(values.get("trainer"), dict)
            or "name" not in values
        ):
            continue
        config = Config(name, values)
        try:
            load_tree(path)
        except UserError as error:
            config.problem = one_line(error).replace(str(folder) + "/", "")
        found.append(config)
    return found


def preflight(folder: Path, config: Config) -> list[str]:
    """What our preflight has to say of the keys; what they name is looked up when the program starts."""
    if config.problem:
        return [config.problem]
    preflight = importlib.import_module("config.check.preflight")
    schema = importlib.import_module("base.schema").SCHEMA
    tree = importlib.import_module("config.read.merge").load_tree(folder / config.path)
    findings = preflight.check_plain_values(tree, schema)
    return [str(finding).replace(f"{folder}/", "") for finding in findings]
