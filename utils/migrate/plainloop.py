"""What this room knows of Plainloop's tree.

The paths of modules are in ``repairs/plainloop.py``. No other file of this room has any.
"""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from utils.migrate.fingerprints import TEMPLATE_FOLDERS

ROOT = Path(__file__).resolve().parents[2]
REPAIRS = Path(__file__).with_name("repairs")
PACKAGES = ("base", "config", "logger", "utils")  # copied into every project, rooms included
IMPORT_FROM_TABLE = re.compile(
    r"^from utils\.migrate\.repairs\.plainloop import (?P<aliases>\w+(?:, \w+)*)(?P<comment>.*)$",
    flags=re.M,
)
LOSS_WEIGHT = "self.loss_weight"  # what a training loop of a project passes to self.update.backward


@dataclass(frozen=True)
class PathEntry:
    """A line of the table: ``from module import name as alias``."""

    module: str
    name: str
    alias: str

    def __str__(self) -> str:
        renamed = f" as {self.alias}" if self.alias != self.name else ""
        return f"from {self.module} import {self.name}{renamed}"


@cache
def read_paths() -> dict[str, PathEntry]:
    """Reads ``repairs/plainloop.py``: each alias with its origin."""
    tree = ast.parse((REPAIRS / "plainloop.py").read_text(encoding="utf-8"))
    entries = [
        PathEntry(node.module or "", alias.name, alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return {entry.alias: entry for entry in entries}


def load(alias: str) -> Any:
    """Imports a class, function or constant of Plainloop by its alias in the table."""
    entry = read_paths()[alias]
    return getattr(importlib.import_module(entry.module), entry.name)


def read_repair(name: str) -> str:
    """Returns the text of a repair as a project gets it: with imports from the real modules."""

    def import_directly(line: re.Match[str]) -> str:
        entries = [read_paths()[alias] for alias in line["aliases"].split(", ")]
        return "\n".join(sorted(f"{entry}{line['comment']}" for entry in entries))

    text = (REPAIRS / f"{name}.py").read_text(encoding="utf-8")
    return IMPORT_FROM_TABLE.sub(import_directly, text)


@cache
def find_modules() -> dict[str, str]:
    """Maps each class and function that can replace one of the template's to its module."""
    modules = {"ConfigParser": read_paths()["ConfigParser"].module}
    for path in sorted(ROOT.glob("*/*.py")):
        relative = path.relative_to(ROOT).as_posix()
        if relative.split("/")[0] not in TEMPLATE_FOLDERS:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                modules.setdefault(node.name, relative.removesuffix(".py").replace("/", "."))
    return modules
