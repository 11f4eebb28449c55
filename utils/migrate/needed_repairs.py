"""Finds the repairs that a project needs.

Some fix code that fails with current libraries. The others keep numbers that Plainloop would
change.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from utils.migrate.fingerprints import get_bindings
from utils.migrate.plainloop import read_repair
from utils.migrate.project import Definition, File, Project

ACCESSORS = ("loc", "iloc", "at", "iat", "columns", "index")  # attributes that are not columns
REMOVAL = "To remove it, "  # begins the sentence of each repair that says how


@dataclass
class Repair:
    """A small file of the new project that keeps old code working or its results the same.

    Attributes:
        name: of its file in ``repairs/``.
        purpose: what it provides, in a few words.
        lines: ``file:line`` of the code that needs it.
        activated_in: the package whose ``__init__.py`` imports it; empty if other code does.
        programs: paths of the programs that import it, too.
    """

    name: str
    purpose: str
    lines: list[str]
    activated_in: str = "base"
    programs: list[str] = field(default_factory=list)

    @property
    def removal(self) -> str:
        """How to do without it: the end of its docstring."""
        docstring = ast.get_docstring(ast.parse(read_repair(self.name))) or ""
        text = " ".join(docstring[docstring.index(REMOVAL) :].split()).replace("``", "`")
        files = [f"{self.activated_in}/__init__.py", *self.programs]
        return text.replace(f"its line in {files[0]}", f"its line in {' and in '.join(files)}")


class FrameCall(NamedTuple):
    """A call of ``DataFrame``: where its name is in the text.

    ``column`` and ``length`` count bytes, as ``ast`` does.
    """

    line: int
    column: int
    length: int


def find_repairs(project: Project) -> list[Repair]:
    """Returns the repairs that the project needs, in the order in which they are imported."""
    numpy_lines, load_lines, frame_lines = [], [], []
    for file in project.kept_files:
        numpy_lines += [f"{file.path}:{line}" for line in _find_removed_numpy_names(file)]
        load_lines += [f"{file.path}:{line}" for line in _find_torch_loads(file)]
        frame_lines += [f"{file.path}:{call.line}" for call in find_frame_calls(file)]
    repairs = [
        Repair("numpy_names", "names that NumPy removed, such as np.float and np.Inf", numpy_lines),
        Repair("safe_load", "safe torch.load of checkpoints with more than tensors", load_lines),
        Repair("live_frame", "a DataFrame with writable columns", frame_lines, activated_in=""),
        Repair(
            "template_order",
            "the template's split and order of samples",
            _find_replaced(project, "BaseDataLoader"),
        ),
        Repair(
            "batch_means",
            "means over batches instead of samples",
            _find_replaced(project, "Trainer"),
        ),
        Repair(
            "tensor_sums",
            "sums of metrics in the precision of the metrics",
            [*_find_replaced(project, "MetricTracker"), *_find_replaced(project, "test.py")],
            activated_in="utils",
        ),
        Repair(
            "plain_optimizer",
            "the optimizer without a fused kernel",
            _find_replaced(project, "train.py"),
        ),
        Repair(
            "ties",
            "of two equally good epochs, the later one is the best",
            _find_replaced(project, "BaseTrainer"),
        ),
    ]
    return [repair for repair in repairs if repair.lines]


def _find_replaced(project: Project, name: str) -> list[str]:
    """Returns the lines of a definition that is replaced; empty if another of its name is kept."""
    if project.find_kept(name) is not None:
        return []
    return [
        f"{definition.file.path}:{definition.start_line}"
        for definition in project.find_all(name)
        if definition.file.is_template_path and definition.is_replaced
    ]


def walk_kept_code(file: File) -> Iterator[ast.AST]:
    """Yields all nodes of a file except for those of replaced definitions."""
    replaced = {id(item.node) for item in file.definitions if item.is_replaced}
    for statement in file.tree.body:
        if id(statement) not in replaced:
            yield from ast.walk(statement)


def get_full_name(node: ast.AST, bindings: dict[str, str]) -> str:
    """Returns the full name of an imported name or an attribute of one, such as ``numpy.float``.

    Anything else gives an empty string.
    """
    if not isinstance(node, ast.Attribute | ast.Name):
        return ""
    first, *others = ast.unparse(node).split(".")
    origin = bindings.get(first, "").replace(":", ".") if first.isidentifier() else ""
    if first not in bindings or bindings[first].startswith(f"{first}."):
        origin = first if first in bindings else ""  # `import torch.nn` binds the name torch
    return ".".join([origin, *others]) if origin else ""


def _find_removed_numpy_names(file: File) -> list[int]:
    removed = {f"numpy.{name}" for name in _list_removed_numpy_names()}
    bindings = get_bindings(file.tree, inside_functions=True)
    lines = set()
    for node in walk_kept_code(file):
        if isinstance(node, ast.Attribute) and get_full_name(node, bindings) in removed:
            lines.add(node.lineno)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            lines |= {node.lineno} if names & removed else set()
    return sorted(lines)


def _list_removed_numpy_names() -> set[str]:
    """Returns the names that the repair restores and the installed NumPy does not have."""
    tree = ast.parse(read_repair("numpy_names"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert isinstance(table, ast.Dict)
    names = {str(key.value) for key in table.keys if isinstance(key, ast.Constant)}
    return names - set(vars(importlib.import_module("numpy")))


def _find_torch_loads(file: File) -> list[int]:
    """Returns the lines that call ``torch.load`` without ``weights_only``."""
    bindings = get_bindings(file.tree, inside_functions=True)
    calls = [node for node in walk_kept_code(file) if isinstance(node, ast.Call)]
    loads = [call for call in calls if get_full_name(call.func, bindings) == "torch.load"]
    unsafe = [call for call in loads if "weights_only" not in {key.arg for key in call.keywords}]
    return sorted({call.lineno for call in unsafe})


def find_frame_calls(file: File) -> list[FrameCall]:
    """Finds where kept classes make a DataFrame and later write to its columns.

    The template's MetricTracker does so; pandas 3 ignores such writes.
    """
    calls: list[FrameCall] = []
    for definition in file.definitions:
        if isinstance(definition.node, ast.ClassDef) and not definition.is_replaced:
            calls += _find_frame_calls_in(definition)
    return calls


def _find_frame_calls_in(definition: Definition) -> Iterator[FrameCall]:
    bindings = get_bindings(definition.file.tree)
    nodes = list(ast.walk(definition.node))
    for node in nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        function = node.value.func
        variable = ast.unparse(node.targets[0])
        imported_name = bindings.get(ast.unparse(function), "").replace(":", ".")
        is_frame = "pandas.DataFrame" in (get_full_name(function, bindings), imported_name)
        if is_frame and any(_writes_to_column(other, variable) for other in nodes):
            length = (function.end_col_offset or 0) - function.col_offset
            yield FrameCall(function.lineno, function.col_offset, length)


def _writes_to_column(node: ast.AST, frame: str) -> bool:
    """Whether it is ``frame.total[key] = …`` or ``frame[name].values[:] = …``."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
        return False
    column = node.value
    if isinstance(column, ast.Attribute) and column.attr == "values":
        column = column.value
    if isinstance(column, ast.Attribute):
        return column.attr not in ACCESSORS and ast.unparse(column.value) == frame
    return isinstance(column, ast.Subscript) and ast.unparse(column.value) == frame
