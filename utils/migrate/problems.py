"""Finds what the tool cannot repair and the project's owner must change, with file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from utils.migrate.code_faults import (
    find_array_conversions,
    find_call_faults,
    find_frame_appends,
    find_gpu_calls,
)
from utils.migrate.configs import Config, find_config_problems
from utils.migrate.fingerprints import get_bindings
from utils.migrate.libraries import list_submodules
from utils.migrate.library_changes import (
    REMOVED_CALLS,
    REMOVED_KEYWORDS,
    REMOVED_NAMES,
    SCHEDULERS_WITHOUT_VERBOSE,
)
from utils.migrate.needed_repairs import get_full_name, walk_kept_code
from utils.migrate.project import File, Project

MODEL_NAMES = ("model", "self.model", "net")


def find_problems(project: Project, configs: list[Config]) -> list[str]:
    """Returns all problems as ``file:line: problem; solution``."""
    found = [
        f"{path}:{failure.line}: cannot be parsed ({failure.reason}); it is copied to aside/, "
        "where nothing can import it"
        for path, failure in project.failures.items()
    ]
    found += _find_empty_submodules(project)
    for file in project.kept_files:
        problems = sorted(set(_find_in_file(file)))
        found += [f"{file.path}:{line}: {advice}" for line, advice in problems]
    for config in configs:
        if project.has_plainloops_program("train.py"):
            found += find_config_problems(project.folder, config)
        found += _find_verbose_schedulers(config)
    return found


def _find_empty_submodules(project: Project) -> Iterator[str]:
    for path in list_submodules(project):
        folder = project.folder / path
        if not folder.is_dir() or not any(folder.iterdir()):
            yield (
                f"{path}/: this git submodule has no files; run `git submodule update --init` in "
                f"{project.folder}, then migrate again"
            )


def _find_verbose_schedulers(config: Config) -> Iterator[str]:
    for name, section in config.values.items():
        if not isinstance(section, dict) or not isinstance(section.get("type"), str):
            continue
        is_verbose = "verbose" in (section.get("args") or {})
        if is_verbose and section["type"] in SCHEDULERS_WITHOUT_VERBOSE:
            yield f"{config.path}: {name}.args.verbose: torch removed this option; delete it"


def _find_in_file(file: File) -> Iterator[tuple[int, str]]:
    """Yields each line that fails with current libraries, and what to do about it."""
    bindings = get_bindings(file.tree, inside_functions=True)
    yield from find_gpu_calls(file, bindings)
    yield from find_frame_appends(file, bindings)
    yield from find_array_conversions(file, bindings)
    for node in walk_kept_code(file):
        if isinstance(node, ast.Call):
            for advice in (*_find_in_call(node, bindings), *find_call_faults(node, bindings)):
                yield node.lineno, advice
        elif isinstance(node, ast.Attribute):
            name = get_full_name(node, bindings)
            if name in REMOVED_NAMES and name != "torch.fft":
                yield node.lineno, _describe_removed(name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _find_in_import(node.lineno, alias.name, alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            for alias in node.names:
                yield from _find_in_import(node.lineno, f"{module}.{alias.name}", module)


def _find_in_import(line: int, full_name: str, module: str) -> Iterator[tuple[int, str]]:
    for name in (full_name, module, full_name.split(".")[0]):
        if name in REMOVED_NAMES and name != "torch.fft":
            yield line, _describe_removed(name)
            return


def _describe_removed(name: str) -> str:
    return f"{name} was removed; use {REMOVED_NAMES[name]}"


def _find_in_call(node: ast.Call, bindings: dict[str, str]) -> Iterator[str]:
    full_name = get_full_name(node.func, bindings)
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    function = method or (node.func.id if isinstance(node.func, ast.Name) else "")
    keywords = {key.arg for key in node.keywords}
    if full_name in REMOVED_CALLS:
        yield f"{full_name}(…) was removed; use {REMOVED_NAMES[full_name]}"
    if function in SCHEDULERS_WITHOUT_VERBOSE and "verbose" in keywords:
        yield f"{function} no longer takes `verbose`; delete it"
    if full_name == "yaml.load" and len(node.args) == 1 and not keywords:
        yield "yaml.load needs a Loader; use yaml.safe_load"
    for removed in REMOVED_KEYWORDS:
        if function == removed.function and removed.keyword in keywords:
            yield (
                f"{removed.function} no longer takes `{removed.keyword}`; use {removed.replacement}"
            )
    if full_name == "torch.save" and node.args and ast.unparse(node.args[0]) in MODEL_NAMES:
        yield "a model saved as an object can only be loaded unsafely; save its `state_dict()`"
