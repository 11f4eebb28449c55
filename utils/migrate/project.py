"""Reads a project without running it: what is the template's own, changed or added."""

from __future__ import annotations

import ast
import tokenize
import warnings
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from utils.errors import UserError, one_line
from utils.migrate.fingerprints import (
    FOLDERS,
    bindings,
    fingerprint,
    is_templates_path,
    statements,
    table,
)

ROOT = Path(__file__).resolve().parents[2]
LOWER = (
    "base",
    "logger",
    "utils",
)  # folders whose definitions give way one by one; in the others whole files do
EVERYWHERE = {".git", "__pycache__", ".venv", "venv", ".idea", ".vscode", ".ipynb_checkpoints"}
SKIPPED = {"saved"}  # at the top only: what the old project's runs wrote


@dataclass
class Definition:
    """One top-level statement of a file: its ``name`` ('' if it has none), and what is to become of it."""

    name: str
    node: ast.stmt
    kind: str  # "own", "changed" or "added"
    current: bool = True  # has the interface of the template's last version
    gives_way: bool = False
    why: str = ""  # why it stays although it is the template's own

    @property
    def start(self) -> int:
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(node.lineno for node in decorators)])

    @cached_property
    def uses(self) -> Uses:
        return Uses.of(self.node)


@dataclass
class Uses:
    """What a statement uses: names; attributes of others and, in a class, of ``self``; keywords; texts, with lines."""

    names: set[str] = field(default_factory=set)
    others: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    keywords: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, statement: ast.stmt) -> Uses:
        found = cls()
        in_class = isinstance(statement, ast.ClassDef)
        if isinstance(statement, ast.ClassDef):
            found.bases = {ast.unparse(base).rpartition(".")[2] for base in statement.bases}
            functions = [node for node in statement.body if isinstance(node, ast.FunctionDef)]
            found.own = {node.name: node.lineno for node in functions}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                found.names.add(node.id)
            elif isinstance(node, ast.Attribute):
                of_self = in_class and isinstance(node.value, ast.Name) and node.value.id == "self"
                (found.own if of_self else found.others).setdefault(node.attr, node.lineno)
            elif isinstance(node, ast.keyword) and node.arg:
                found.keywords.setdefault(node.arg, node.value.lineno)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.texts.setdefault(node.value, node.lineno)
        return found


@dataclass
class File:
    """One Python file of the project."""

    path: str
    text: str
    tree: ast.Module
    encoding: str = "utf-8"
    definitions: list[Definition] = field(default_factory=list)
    whole: bool = False  # its imports stay, whatever gives way, as others import them from it

    @property
    def templates(self) -> bool:
        return is_templates_path(self.path)

    @property
    def gone(self) -> bool:
        """Nothing of it is left: ours stands in its place."""
        ways = [definition.gives_way for definition in self.definitions]
        return self.templates and not self.whole and bool(ways) and all(ways)

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass
class Survey:
    """A project that was read."""

    folder: Path
    files: dict[str, File] = field(default_factory=dict)
    unread: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # files that do not parse: line, and why
    others: list[str] = field(default_factory=list)  # that are no Python
    empty: list[str] = field(default_factory=list)  # folders, which its programs may write to

    @property
    def kept(self) -> list[File]:
        """The files of which something stays."""
        return [file for file in self.files.values() if not file.gone]

    def staying(self, name: str) -> tuple[File, Definition] | None:
        """The project's class, function or script of this name, if it does not give way to ours."""
        for file in self.files.values():
            for item in file.definitions if file.templates else ():
                if not item.gives_way and name in (item.name, file.path):
                    return file, item
        return None


@cache
def our_names() -> dict[str, str]:
    """Where each of our names is that stands for one of the template's."""
    found = {"ConfigParser": "config.parser"}
    for path in sorted(ROOT.glob("*/*.py")):
        home = path.relative_to(ROOT).as_posix()
        if home.split("/")[0] in FOLDERS:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    found.setdefault(node.name, home.removesuffix(".py").replace("/", "."))
    return found


def read(folder: Path) -> Survey:
    """Reads all of a project.

    Raises:
        UserError: there is none, it was not made from pytorch-template, or may not be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    survey = Survey(folder)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if set(relative.parts) & EVERYWHERE or relative.parts[0] in SKIPPED:
            continue
        if path.is_symlink() or (
            path.is_file() and (path.suffix != ".py" or path.name.startswith("._"))
        ):
            survey.others.append(relative.as_posix())
        elif path.is_dir() and not any(path.iterdir()):
            survey.empty.append(relative.as_posix())
        elif path.is_file():
            _read_file(survey, path, relative.as_posix())
    if "base/base_trainer.py" not in {*survey.files, *survey.unread}:
        deeper = [path for path in survey.files if path.endswith("/base/base_trainer.py")]
        hint = (
            f"; there is one in {folder / deeper[0].removesuffix('base/base_trainer.py')}"
            if deeper
            else ""
        )
        raise UserError(
            f"{folder}: not a pytorch-template project: there is no base/base_trainer.py{hint}"
        )
    _classify(survey)
    return survey


def _read_file(survey: Survey, path: Path, name: str) -> None:
    try:
        with tokenize.open(path) as file:
            text, encoding = file.read(), file.encoding
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in the project's strings
            survey.files[name] = File(name, text, ast.parse(text), encoding)
    except (SyntaxError, ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or one_line(error)
        survey.unread[name] = (int(getattr(error, "lineno", None) or 1), str(reason))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _classify(survey: Survey) -> None:
    known = table()
    templates_names = {*our_names(), "WriterTensorboardX", "Logger"}
    for file in survey.files.values():
        bound = bindings(file.tree)
        foreign = {
            name
            for name, target in bound.items()
            if target not in known.imports.get(name, [target])
        }
        for node in statements(file.tree, imports=file.path.endswith("__init__.py")):
            name = str(getattr(node, "name", ""))
            used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            digest = fingerprint(node)
            if file.templates and digest in known.hashes and not used & foreign:
                file.definitions.append(Definition(name, node, "own", known.hashes[digest]))
            else:
                scripts = file.path in ("train.py", "test.py")
                changed = file.templates and (name in templates_names or scripts)
                file.definitions.append(Definition(name, node, "changed" if changed else "added"))
