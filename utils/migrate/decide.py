"""Decides which definitions Plainloop replaces.

A definition is replaced only if it is the template's, and if no code that is kept depends on a
difference.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from utils.migrate.configs import Config
from utils.migrate.fingerprints import get_bindings
from utils.migrate.members import list_attributes, list_plainloop_attributes
from utils.migrate.plainloop import find_modules
from utils.migrate.project import FRAMEWORK_FOLDERS, Definition, Origin, Project
from utils.project.taken import PACKAGES

# Plainloop's class or program replaces the template's only if all of these are replaced too, since
# it uses them. What the template's definition uses itself is added.
NEEDED_BY = {
    "BaseTrainer": (
        "ConfigParser",
        "setup_logging",
        "TensorboardWriter",
        "prepare_device",
        "ensure_dir",
        "write_json",
    ),
    "ConfigParser": ("BaseTrainer",),
    "train.py": ("ConfigParser", "BaseTrainer", "prepare_device"),
    "test.py": ("train.py", "ConfigParser"),
    "Trainer": ("BaseTrainer", "MetricTracker", "inf_loop"),
}
RUN_FOLDERS = ("save_dir", "log_dir")  # attributes of ConfigParser whose values differ
CHECKPOINT_NAMES = ("model_best", "checkpoint-epoch")  # parts of file names that differ


@dataclass(frozen=True)
class Obstacle:
    """Why a definition cannot be replaced.

    Attributes:
        reason: completes "kept because".
        is_data_parallel: whether it is a config that asks for several GPUs.
    """

    reason: str
    is_data_parallel: bool = False


def decide(project: Project, configs: list[Config]) -> None:
    """Sets ``is_replaced`` and ``reason`` of all definitions.

    A definition that is kept can be an obstacle for others, so this repeats until nothing changes.
    """
    definitions = project.definitions
    for definition in definitions:
        is_unchanged = definition.origin is Origin.UNCHANGED
        definition.is_replaced = is_unchanged and definition.is_current
        if is_unchanged and not definition.is_current:
            definition.reason = "it is from an older version with another interface"
    _mark_imported_imports(project)
    changed = True
    while changed:
        changed = False
        kept = [definition for definition in definitions if not definition.is_replaced]
        for definition in definitions:
            if not definition.is_replaced:
                continue
            obstacle = _find_obstacle(project, definition, kept, configs)
            if obstacle is not None:
                definition.is_replaced = False
                definition.reason = obstacle.reason
                definition.needs_data_parallel = obstacle.is_data_parallel
                changed = True
    _keep_package_files(project)


def _mark_imported_imports(project: Project) -> None:
    """Keeps the imports of a file if another file may import these names from it.

    ``from utils.util import *`` takes them all, ``from utils.util import Path`` takes one.
    """
    imported: dict[str, set[str]] = {}
    for file in project.files.values():
        is_package = file.path.endswith("__init__.py")
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.ImportFrom) or node.level > 1:
                continue
            package = file.module if is_package else file.module.rpartition(".")[0]
            segments = [package if node.level else "", node.module or ""]
            names = {alias.name for alias in node.names} - ({"*"} if is_package else set())
            imported.setdefault(".".join(filter(None, segments)), set()).update(names)
    for file in project.files.values():
        names = imported.get(file.module, set())
        names |= {"*"} & imported.get(file.module.rpartition(".")[0], set())
        is_used = "*" in names or bool(names & set(get_bindings(file.tree)))
        file.keeps_imports = is_used and not file.path.endswith("__init__.py")


def _keep_package_files(project: Project) -> None:
    """Keeps an ``__init__.py`` of the template's if a file beside it is kept.

    It imports everything from every file in its folder.
    """
    for file in project.files.values():
        folder, _, name = file.path.rpartition("/")
        if name != "__init__.py" or folder not in FRAMEWORK_FOLDERS:
            continue
        neighbours = [
            other
            for other in project.kept_files
            if other.path.rpartition("/")[0] == folder and other is not file
        ]
        if neighbours:
            file.keeps_imports = True
            for definition in file.definitions:
                definition.is_replaced = False
                definition.reason = "it imports files that are kept"


def _find_obstacle(
    project: Project, definition: Definition, kept: list[Definition], configs: list[Config]
) -> Obstacle | None:
    """Returns the first reason to keep a definition, or None."""
    reason = (
        _find_path_obstacle(definition)
        or _find_helper_obstacle(project, definition, kept)
        or _find_dependency(project, definition, kept)
    )
    if reason:
        return Obstacle(reason)
    use = next(find_uses(definition, kept), "")
    return Obstacle(use) if use else _find_config_obstacle(definition, configs)


def _find_path_obstacle(definition: Definition) -> str:
    """Checks that Plainloop has the definition in the same module, and that no file is divided."""
    file, name = definition.file, definition.name
    modules = find_modules()
    is_unit = file.folder not in (*FRAMEWORK_FOLDERS, "")
    if (file.is_program or is_unit) and any(not item.is_replaced for item in file.definitions):
        return "other code in its file is kept"
    if not name or file.is_program or _is_helper(definition) or file.path == "new_project.py":
        return ""
    if name not in modules:
        return "Plainloop has nothing of this name"
    if modules[name] != file.module and (is_unit or modules[name].split(".")[0] not in PACKAGES):
        # The new project may have no such file, or its own one with other content.
        return f"Plainloop has it in {modules[name]}"
    return ""


def _is_helper(definition: Definition) -> bool:
    """Whether it is one of the functions that only ConfigParser uses."""
    return definition.file.path == "parse_config.py" and definition.name.startswith("_")


def _find_helper_obstacle(project: Project, helper: Definition, kept: list[Definition]) -> str:
    """Checks that no kept code uses a helper of ConfigParser."""
    if not _is_helper(helper):
        return ""
    is_used = any(helper.name in other.uses.names for other in kept)
    return "other kept code uses it" if is_used or project.find_kept("ConfigParser") else ""


def _find_dependency(project: Project, definition: Definition, kept: list[Definition]) -> str:
    """Checks that nothing is kept that the definition, or Plainloop's version of it, needs."""
    if definition.file.is_program:  # Plainloop's programs take any trainer
        names = list(NEEDED_BY.get(definition.file.path, ()))
    else:
        kept_names = {other.name for other in kept if other.file.is_template_path}
        used_names = (definition.uses.names & kept_names) - {"", definition.name}
        names = [*NEEDED_BY.get(definition.name, ()), *sorted(used_names)]
    for name in names:
        other = project.find_kept(name)
        if other is not None:
            state = "kept" if other.origin is Origin.UNCHANGED else other.origin
            return f"{name} is {state}"
    return ""


def find_uses(definition: Definition, kept: list[Definition]) -> Iterator[str]:
    """Yields uses in kept code of attributes and values that differ in Plainloop's definition."""
    missing = list_attributes(definition.node) - list_plainloop_attributes(definition.name)
    children = _find_children(definition.name, kept)
    trainers = _find_children("BaseTrainer", kept)
    for other in kept:
        uses, path = other.uses, other.file.path
        seen = dict(uses.attributes)
        if other.name in children:
            seen |= uses.self_attributes
        for name in sorted(missing & set(seen)):
            yield f"{path}:{seen[name]} uses its `{name}`"
        if definition.name == "BaseTrainer":
            for text, line in uses.strings.items():
                if any(part in text for part in CHECKPOINT_NAMES):
                    yield f"{path}:{line} names the checkpoint `{text}`"
        if definition.name == "ConfigParser" and other.name not in trainers:
            for name in RUN_FOLDERS:
                if name in uses.attributes:
                    yield f"{path}:{uses.attributes[name]} uses `{name}`"
        if definition.name == "Trainer" and "len_epoch" in uses.keywords:
            line = uses.keywords["len_epoch"]
            yield f"{path}:{line} sets `len_epoch`, with which Plainloop trains one batch less"


def _find_config_obstacle(definition: Definition, configs: list[Config]) -> Obstacle | None:
    """Checks that Plainloop's version can serve all configs as the template's did."""
    for config in configs:
        if definition.name == "ConfigParser" and config.problem:
            return Obstacle(f"Plainloop cannot read a config: {config.problem}")
        if definition.name == "BaseTrainer" and config.n_gpu > 1:
            # Plainloop would start that many processes.
            reason = f"{config.path} asks for several GPUs, for which it has DataParallel"
            return Obstacle(reason, is_data_parallel=True)
    return None


def _find_children(name: str, kept: list[Definition]) -> set[str]:
    """Returns the names of kept classes that derive from a class, directly or not."""
    found = {name}
    size = 0
    while size < len(found):
        size = len(found)
        found |= {item.name for item in kept if item.uses.bases & found and item.name}
    return found - {name}
