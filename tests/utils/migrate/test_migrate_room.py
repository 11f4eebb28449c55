"""How the room utils/migrate and the rest of Plainloop depend on each other."""

from __future__ import annotations

import ast
import importlib
import subprocess

import pytest

from tests.helpers import ROOT
from utils.migrate.needed_repairs import Repair
from utils.migrate.plainloop import REPAIRS, find_modules, read_repair
from utils.project.taken import PACKAGES

NAMES = [path.stem for path in sorted(REPAIRS.glob("*.py"))]
GENERAL_MODULES = ("utils.errors", "utils.main", "utils.new_folder", "utils.project.taken")


def list_imports(text: str) -> set[str]:
    """Returns the modules that a text imports."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


def test_nothing_outside_imports_the_room():
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith(("utils/migrate/", "tests/utils/migrate/")):
            modules = list_imports((ROOT / name).read_text(encoding="utf-8"))
            assert not any(module.startswith("utils.migrate") for module in modules), name


def test_only_the_check_of_configs_and_the_repairs_import_other_rooms():
    """The general helpers in ``utils`` are the exception."""
    importing = set()
    for path in REPAIRS.parent.glob("*.py"):
        for module in list_imports(path.read_text(encoding="utf-8")):
            is_general = module.startswith("utils.migrate") or module in GENERAL_MODULES
            if module.split(".")[0] in PACKAGES and not is_general:
                importing.add(path.name)
    assert importing == {"configs.py"}


@pytest.mark.parametrize("name", NAMES)
def test_a_repair_imports_from_the_real_places_and_says_how_to_remove_it(name):
    modules = list_imports(read_repair(name))
    assert not any(module.startswith("utils.migrate") for module in modules)
    for module in modules:
        if module.split(".")[0] in PACKAGES:
            importlib.import_module(module)
    assert "delete this file" in Repair(name, "", []).removal


def test_the_contract_names_are_found_in_their_modules():
    modules = find_modules()
    for name in ("BaseDataLoader", "BaseModel", "BaseTrainer", "MetricTracker", "Trainer"):
        assert hasattr(importlib.import_module(modules[name]), name)
