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
OLD_NAMES = ("WriterTensorboardX", "Logger")  # of classes that the template no longer has
TRAINER_PATH = "base/base_trainer.py"


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
    if TRAINER_PATH not in {*project.files, *project.failures}:
        raise UserError(_describe_missing_trainer(project))
    for file in project.files.values():
        _add_definitions(file, load_table())
    return project


def _describe_missing_trainer(project: Project) -> str:
    message = f"{project.folder}: not a pytorch-template project: it has no {TRAINER_PATH}"
    deeper = [path for path in project.files if path.endswith(f"/{TRAINER_PATH}")]
    if not deeper:
        return message
    return f"{message}; there is one in {project.folder / deeper[0].removesuffix(TRAINER_PATH)}"


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
