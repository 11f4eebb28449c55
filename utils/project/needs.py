"""What an experiment needs: its configs, the files of its classes, optional rooms and libraries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.check.project import USER_FOLDERS
from config.read.merge import load_tree
from config.read.source import read_tree
from utils.project.rooms import DEFAULT_ROOMS, expand_rooms

HOMES = {  # a name without a dot is looked up here
    "data_loader/data_loaders.py",
    "model/loss.py",
    "model/metric.py",
    "model/model.py",
    "trainer/trainer.py",
}
FIRST_CONFIG = "config/config.json"
FIRST_STEPS = {"model/mlp.py"}  # the first steps in the READMEs go from that config to this file
COMMAND = re.compile(r"-c ([\w.-]+\.(?:json|ya?ml))")  # finds the config of a command
EXTRA = re.compile(r"pip install (?:-e )?[\"']\.\[(\w+)\]")
FILE_AND_NAME = re.compile(r"(?:(?:data_loader|model|trainer)\.)?(\w+)\.\w+")


@dataclass
class Needs:
    """What a project needs beside the framework's code.

    Attributes:
        configs: the chosen config first, then those that it extends or whose run it starts from,
            as paths from the framework's folder.
        files: of ``data_loader/``, ``model/`` and ``trainer/``.
        rooms: the optional rooms that the configs use, and the default ones.
        extras: the optional groups of libraries in ``pyproject.toml``.
    """

    configs: list[str]
    files: set[str] = field(default_factory=set)
    rooms: list[str] = field(default_factory=list)
    extras: set[str] = field(default_factory=set)


def find_needs(framework: Path, config: str) -> Needs:
    """Finds what a config needs.

    The configs in the commands at the head of a file count, because a run may start from theirs.

    Args:
        framework: the folder of the framework.
        config: the path of the config from that folder, such as ``config/config.json``.

    Raises:
        ConfigError: a config has mistakes or is missing.
    """
    needs = Needs(find_configs(framework, config))
    rooms = [*DEFAULT_ROOMS]
    for name in needs.configs:
        data = load_tree(framework / name).data
        needs.files |= set(find_types(framework, data))
        needs.extras |= set(EXTRA.findall((framework / name).read_text(encoding="utf-8")))
        rooms += find_rooms(data)
    steps = FIRST_STEPS if config == FIRST_CONFIG else set()
    needs.files = add_imports(framework, needs.files | HOMES | steps)
    needs.rooms = expand_rooms(rooms)
    return needs


def find_configs(framework: Path, config: str) -> list[str]:
    """Returns a config, and all configs that it needs, as paths from the framework's folder."""
    found: list[str] = []
    waiting = [config]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found.append(name)
        folder = (framework / name).parent
        bases = read_tree(framework / name).data.get("extends") or []
        names = list(bases) if isinstance(bases, list) else [bases]
        names += COMMAND.findall((framework / name).read_text(encoding="utf-8"))
        paths = [(folder / other).resolve() for other in names]
        root = framework.resolve()
        waiting += [
            path.relative_to(root).as_posix()
            for path in paths
            if path.is_file() and path.is_relative_to(root)
        ]
    return found


def find_types(framework: Path, value: Any) -> Iterator[str]:
    """Yields the files of the user's folders that the texts in a config name as ``FILE.NAME``."""
    if isinstance(value, dict):
        for item in value.values():
            yield from find_types(framework, item)
    elif isinstance(value, list):
        for item in value:
            yield from find_types(framework, item)
    elif isinstance(value, str) and (match := FILE_AND_NAME.fullmatch(value)):
        for folder in USER_FOLDERS:
            if (framework / folder / f"{match[1]}.py").is_file():
                yield f"{folder}/{match[1]}.py"


def find_rooms(data: dict[str, Any]) -> Iterator[str]:
    """Yields the optional rooms that a config uses."""
    trainer, parallel = data.get("trainer", {}), data.get("parallel", {})
    if data.get("transfer"):
        yield "transfer"
    if data.get("search") or data.get("repeat"):
        yield "groups"
    if trainer.get("wandb"):
        yield "wandb"
    if parallel.get("type") == "fsdp" or trainer.get("sharded_checkpoint"):
        yield "parallel"


def add_imports(framework: Path, files: set[str]) -> set[str]:
    """Returns the files, and those of the user's folders that they import."""
    found: set[str] = set()
    waiting = {name for name in files if (framework / name).is_file()}
    while waiting:
        name = waiting.pop()
        found.add(name)
        text = (framework / name).read_text(encoding="utf-8")
        modules = {module.replace(".", "/") for module in list_modules(ast.parse(text))}
        others = {f"{module}.py" for module in modules if module.startswith(USER_FOLDERS)}
        waiting |= {other for other in others if (framework / other).is_file()} - found
    return found


def list_modules(tree: ast.Module) -> Iterator[str]:
    """Yields the modules that a file imports anywhere, and the names that it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
