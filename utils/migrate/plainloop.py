"""What this room knows of Plainloop's tree."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from utils.migrate.fingerprints import TEMPLATE_FOLDERS

ROOT = Path(__file__).resolve().parents[2]
REPAIRS = Path(__file__).with_name("repairs")
WRITTEN_FILES = ("parse_config.py", "new_project.py")  # Plainloop has none; see compose.py
LOSS_WEIGHT = "self.loss_weight"  # what a training loop of a project passes to self.update.backward


def read_repair(name: str) -> str:
    """Returns the text of a repair."""
    return (REPAIRS / f"{name}.py").read_text(encoding="utf-8")


@cache
def has_file(path: str) -> bool:
    """Whether a file of the template's can be replaced as a unit: Plainloop has it too."""
    return path in WRITTEN_FILES or (ROOT / path).is_file()


@cache
def find_modules() -> dict[str, str]:
    """Maps each class and function that can replace one of the template's to its module."""
    modules = {"ConfigParser": "config.parser"}
    for path in sorted(ROOT.glob("*/*.py")):
        relative = path.relative_to(ROOT).as_posix()
        if relative.split("/")[0] not in TEMPLATE_FOLDERS:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                modules.setdefault(node.name, relative.removesuffix(".py").replace("/", "."))
    return modules
