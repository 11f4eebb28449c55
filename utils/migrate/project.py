"""A pytorch-template project as data: its files, and the definitions in them."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from utils.migrate.fingerprints import is_template_path
from utils.migrate.plainloop import has_file

# In these folders, definitions are replaced one by one. In the others, files are replaced as units.
FRAMEWORK_FOLDERS = ("base", "logger", "utils")
PROGRAMS = ("train.py", "test.py")
NamedStatement = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Origin(StrEnum):
    """Who wrote a definition."""

    UNCHANGED = "unchanged"  # equal to a version of the template's
    CHANGED = "changed"  # has the name of one of the template's
    ADDED = "added"


@dataclass
class Uses:
    """What a statement uses. Each dict maps to the first line.

    Attributes:
        names: variables, functions and classes.
        bases: the parents of a class, without their modules.
        attributes: attributes of objects other than ``self``.
        self_attributes: attributes of ``self`` in a class, and its methods.
        keywords: names of keyword arguments.
        strings: string constants.
    """

    names: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    attributes: dict[str, int] = field(default_factory=dict)
    self_attributes: dict[str, int] = field(default_factory=dict)
    keywords: dict[str, int] = field(default_factory=dict)
    strings: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, statement: ast.stmt) -> Uses:
        """Collects what ``statement`` uses."""
        uses = cls()
        in_class = isinstance(statement, ast.ClassDef)
        if isinstance(statement, ast.ClassDef):
            uses.bases = {ast.unparse(base).rpartition(".")[2] for base in statement.bases}
            methods = [node for node in statement.body if isinstance(node, ast.FunctionDef)]
            uses.self_attributes = {node.name: node.lineno for node in methods}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                uses.names.add(node.id)
            elif isinstance(node, ast.Attribute):
                of_self = in_class and isinstance(node.value, ast.Name) and node.value.id == "self"
                lines = uses.self_attributes if of_self else uses.attributes
                lines.setdefault(node.attr, node.lineno)
            elif isinstance(node, ast.keyword) and node.arg:
                uses.keywords.setdefault(node.arg, node.value.lineno)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                uses.strings.setdefault(node.value, node.lineno)
        return uses


@dataclass
class Definition:
    """A top-level statement of a file: a class, a function or any other.

    Attributes:
        file: the file that it is in.
        name: of the class or function; empty for other statements.
        node: its syntax tree.
        origin: who wrote it.
        is_current: whether it has the interface of the template's last version.
        is_replaced: whether the new project uses Plainloop's instead.
        reason: why it is kept although it is unchanged; completes "kept because".
        needs_data_parallel: whether the reason is a config that asks for several GPUs.
    """

    file: File = field(repr=False)
    name: str
    node: ast.stmt
    origin: Origin
    is_current: bool = True
    is_replaced: bool = False
    reason: str = ""
    needs_data_parallel: bool = False

    @property
    def start_line(self) -> int:
        """The first line, decorators included."""
        decorators = self.node.decorator_list if isinstance(self.node, NamedStatement) else []
        return min([self.node.lineno, *(node.lineno for node in decorators)])

    @cached_property
    def uses(self) -> Uses:
        return Uses.of(self.node)


@dataclass
class File:
    """A Python file of the project.

    Attributes:
        path: relative to the project.
        text: its content.
        tree: its syntax tree.
        definitions: its statements except for imports.
        keeps_imports: whether its imports are kept even if all definitions are replaced, because
            another file imports them from it.
    """

    path: str
    text: str
    tree: ast.Module
    definitions: list[Definition] = field(default_factory=list)
    keeps_imports: bool = False

    @property
    def folder(self) -> str:
        """The top-level folder; empty for a file at the top."""
        return self.path.split("/")[0] if "/" in self.path else ""

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_template_path(self) -> bool:
        return is_template_path(self.path)

    @property
    def is_program(self) -> bool:
        return self.path in PROGRAMS

    @property
    def is_replaced(self) -> bool:
        """Whether nothing of it is kept.

        A file that Plainloop does not have is kept, with imports instead of definitions, because
        other files import its names from it.
        """
        replaced = [definition.is_replaced for definition in self.definitions]
        can_go = self.is_template_path and not self.keeps_imports and has_file(self.path)
        return can_go and bool(replaced) and all(replaced)


@dataclass(frozen=True)
class ParseFailure:
    """Why a Python file cannot be parsed."""

    line: int
    reason: str


@dataclass
class Project:
    """A project that was read.

    Attributes:
        folder: where it is.
        files: its Python files, by path.
        failures: its Python files that cannot be parsed, by path.
        other_files: paths of files that are not Python, and of links.
        empty_folders: paths of empty folders. The project's programs may write to them.
        recognized_by: what shows that it is made from the template.
    """

    folder: Path
    files: dict[str, File] = field(default_factory=dict)
    failures: dict[str, ParseFailure] = field(default_factory=dict)
    other_files: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    recognized_by: list[str] = field(default_factory=list)

    @property
    def definitions(self) -> list[Definition]:
        return [definition for file in self.files.values() for definition in file.definitions]

    @property
    def kept_files(self) -> list[File]:
        """The files of which at least something is kept."""
        return [file for file in self.files.values() if not file.is_replaced]

    def find_all(self, name: str) -> list[Definition]:
        """Returns the definitions with this name; for a program, all in the file of this name."""
        return [item for item in self.definitions if name in (item.name, item.file.path)]

    def find_kept(self, name: str) -> Definition | None:
        """Returns the first of these definitions that is at a path of the template's and kept."""
        for definition in self.find_all(name):
            if definition.file.is_template_path and not definition.is_replaced:
                return definition
        return None

    def has_plainloops_program(self, path: str) -> bool:
        """Whether the new project gets Plainloop's train.py or test.py."""
        if path in self.failures:
            return True
        return path in self.files and self.files[path].is_replaced

    def is_replaced(self, name: str) -> bool:
        """Whether Plainloop's definition stands in for one that the project had."""
        is_had = any(item.file.is_template_path for item in self.find_all(name))
        return is_had and self.find_kept(name) is None

    def list_children(self, name: str) -> set[str]:
        """Returns the names of the classes that derive from a class, directly or not."""
        found = {name}
        size = 0
        while size < len(found):
            size = len(found)
            found |= {item.name for item in self.definitions if item.uses.bases & found}
        return found - {name, ""}

    def is_from_plainloop(self, name: str) -> bool:
        """Whether the project keeps none of its own. True also if it never had one."""
        return self.find_kept(name) is None
