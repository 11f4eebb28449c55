"""The configs of a project, and which of their values Plainloop refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.read.merge import load_tree
from utils.errors import UserError, one_line

MAX_CONFIG_BYTES = 1_000_000  # a larger JSON file is data
SECTIONS = {
    *("name", "n_gpu", "arch", "data_loader", "optimizer", "loss", "metrics", "lr_scheduler"),
    "trainer",
}
MIN_SECTIONS = 3


@dataclass
class Config:
    """A JSON file that holds a config.

    Attributes:
        path: relative to the project.
        values: its content.
        problem: why Plainloop cannot read it; empty if it can.
    """

    path: str
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def n_gpu(self) -> float:
        value = self.values.get("n_gpu")
        return value if isinstance(value, int | float) else 0


def find_configs(folder: Path, names: list[str]) -> list[Config]:
    """Finds the configs of a project: JSON objects with sections that the template's have.

    Args:
        folder: the project.
        names: paths of files in it.
    """
    configs = []
    for name in names:
        values = _read_json_object(folder / name)
        if _is_config(values):
            configs.append(Config(name, values, _find_reading_problem(folder, name)))
    return configs


def _is_config(values: dict[str, Any]) -> bool:
    """Whether it has a ``trainer`` section and a name, or several other sections.

    A project may have renamed one, or have left out the name.
    """
    count = len(SECTIONS & values.keys())
    if isinstance(values.get("trainer"), dict):
        return "name" in values or count >= MIN_SECTIONS
    return isinstance(values.get("data_loader"), dict) and count > MIN_SECTIONS


def _read_json_object(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file; an empty dict if it holds no object."""
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > MAX_CONFIG_BYTES:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _find_reading_problem(folder: Path, name: str) -> str:
    try:
        load_tree(folder / name)
    except UserError as error:
        return one_line(error).replace(f"{folder}/", "")
    return ""


def find_config_problems(folder: Path, config: Config) -> list[str]:
    """Checks the keys of a config and the options of its ``trainer`` section.

    Classes and functions that it names are not looked up: that would run the project's code.
    """
    if config.problem:
        return [config.problem]
    from base.schema import SCHEMA  # imports torch
    from config.check.preflight import check_plain_values

    findings = check_plain_values(load_tree(folder / config.path), SCHEMA)
    return [str(finding).replace(f"{folder}/", "") for finding in findings]
