"""Reads a project without running it, and finds out which definitions are the template's."""

from __future__ import annotations

import ast
import tokenize
import warnings
from pathlib import Path

from utils.errors import UserError, one_line
from utils.migrate.fingerprints import (
    FingerprintTable,
    compute_fingerprint,
    get_bindings,
    list_statements,
    load_table,
)
from utils.migrate.plainloop import find_modules
from utils.migrate.project import Definition, File, NamedStatement, Origin, ParseFailure, Project

IGNORED_NAMES = {".git", "__pycache__", ".venv", "venv", ".idea", ".vscode", ".ipynb_checkpoints"}
IGNORED_AT_TOP = {"saved"}  # the runs of the old project
MAX_SHOWN_NAMES = 3  # of the definitions that are the template's
OLD_NAMES = ("WriterTensorboardX", "Logger")  # of classes that the template no longer has
MARKS = ("base/base_trainer.py", "parse_config.py")  # either file shows where the template lies


def read_project(folder: Path) -> Project:
    """Reads all files of a project.

    Raises:
        UserError: the folder does not exist, holds no pytorch-template project, or is unreadable.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    project = Project(folder)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if set(relative.parts) & IGNORED_NAMES or relative.parts[0] in IGNORED_AT_TOP:
            continue
        name = relative.as_posix()
        is_python = path.suffix == ".py" and not path.name.startswith("._")
        if path.is_symlink() or (path.is_file() and not is_python):
            project.other_files.append(name)
        elif path.is_dir() and not any(path.iterdir()):
            project.empty_folders.append(name)
        elif path.is_file():
            _read_file(project, path, name)
    for file in project.files.values():
        _add_definitions(file, load_table())
    project.recognized_by = _find_marks(project)
    if not project.recognized_by:
        raise UserError(_describe_other_project(project))
    return project


def _find_marks(project: Project) -> list[str]:
    """Returns what shows that it is a project of the template; empty if nothing does."""
    marks = [path for path in MARKS if path in project.files or path in project.failures]
    unchanged = [item for item in project.definitions if item.origin is Origin.UNCHANGED]
    names = sorted({f"{item.name} in {item.file.path}" for item in unchanged if item.name})
    if len(names) > MAX_SHOWN_NAMES:
        names[MAX_SHOWN_NAMES:] = [f"{len(names) - MAX_SHOWN_NAMES} more of its definitions"]
    return marks + names


def _describe_other_project(project: Project) -> str:
    files = " or ".join(MARKS)
    message = (
        f"{project.folder}: not a pytorch-template project: it has no {files}, and no class or "
        "function of the template"
    )
    deeper = {path: mark for path in project.files for mark in MARKS if path.endswith(f"/{mark}")}
    for path, mark in deeper.items():
        return f"{message}; {mark} is in {project.folder / path.removesuffix(mark)}"
    return message


def _read_file(project: Project, path: Path, name: str) -> None:
    try:
        with tokenize.open(path) as file:
            text = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in strings
            project.files[name] = File(name, text, ast.parse(text))
    except SyntaxError as error:
        project.failures[name] = ParseFailure(error.lineno or 1, error.msg)
    except (ValueError, RecursionError) as error:
        project.failures[name] = ParseFailure(1, one_line(error))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _add_definitions(file: File, table: FingerprintTable) -> None:
    """Fills ``file.definitions``.

    A statement that uses a name with another meaning than in the template is not the template's,
    even if its text is the same.
    """
    template_names = {*find_modules(), *OLD_NAMES}
    foreign_names = {
        name
        for name, origin in get_bindings(file.tree).items()
        if origin not in table.imports.get(name, [origin])
    }
    for node in list_statements(file.tree, with_imports=file.path.endswith("__init__.py")):
        name = node.name if isinstance(node, NamedStatement) else ""
        used_names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        fingerprint = compute_fingerprint(node)
        definition = Definition(file, name, node, Origin.ADDED)
        if file.is_template_path and fingerprint in table.hashes and not used_names & foreign_names:
            definition.origin = Origin.UNCHANGED
            definition.is_current = table.hashes[fingerprint]
        elif file.is_template_path and (name in template_names or file.is_program):
            definition.origin = Origin.CHANGED
        file.definitions.append(definition)
