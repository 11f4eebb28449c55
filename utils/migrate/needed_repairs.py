"""The repairs that a project needs: faults that only today's libraries show, and what ours does otherwise."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from utils.migrate.fingerprints import bindings
from utils.migrate.project import File, Survey

REPAIRS = Path(__file__).with_name("repairs")


@dataclass
class Repair:
    """One small file of the new folder.

    Attributes:
        name: of the file in ``repairs/``.
        what: in a line, what it does.
        where: lines of the project that need it.
        by_import: whether it takes effect by a line in ``base/__init__.py``.
    """

    name: str
    what: str
    where: list[str]
    by_import: bool = True

    @property
    def instead(self) -> str:
        """The sentence that tells how to get rid of it."""
        text = (
            ast.get_docstring(ast.parse((REPAIRS / f"{self.name}.py").read_text(encoding="utf-8")))
            or ""
        )
        return " ".join(text[text.index("To ") :].split())


class Frame(NamedTuple):
    """A call of ``DataFrame`` in a text: the line, and the bytes before and of its name."""

    line: int
    column: int
    length: int


def repairs_of(survey: Survey) -> list[Repair]:
    """All that the project needs."""
    kept = survey.kept
    numpy = [f"{file.path}:{line}" for file in kept for line in _old_numpy(file)]
    loads = [f"{file.path}:{line}" for file in kept for line in _loads(file)]
    frames = [f"{file.path}:{frame.line}" for file in kept for frame in frames_of(file)]
    repairs = [
        Repair("numpy_names", "names that NumPy took away, as np.float and np.Inf", numpy),
        Repair("safe_load", "torch.load of checkpoints that hold more than tensors, safely", loads),
        Repair(
            "live_frame",
            "a pandas frame that can be written to by columns",
            frames,
            by_import=False,
        ),
    ]
    switches = {
        "BaseDataLoader": Repair("template_order", "the template's split and order of samples", []),
        "Trainer": Repair("batch_means", "means over batches, not over samples", []),
        "train.py": Repair("plain_optimizer", "the optimizer's plain kernels", []),
        "BaseTrainer": Repair("ties", "of two equally good epochs the later one is the best", []),
    }
    for name, switch in switches.items():
        found = [f"{file.path}:{item.start}" for file in survey.files.values() for item in file.definitions
                 if name in (item.name, file.path) and file.templates and item.gives_way]  # fmt: skip
        switch.where = [] if survey.staying(name) else found
        repairs.append(switch)
    return [repair for repair in repairs if repair.where]


def _stays(file: File) -> Iterator[ast.AST]:
    """The nodes of a file, without what gives way."""
    gone = {id(item.node) for item in file.definitions if item.gives_way}
    for statement in file.tree.body:
        if id(statement) not in gone:
            yield from ast.walk(statement)


def dotted(node: ast.AST, bound: dict[str, str]) -> str:
    """The full name of an attribute of an imported module, as ``numpy.float``; '' for anything else."""
    if not isinstance(node, ast.Attribute):
        return ""
    parts = ast.unparse(node).split(".")
    home = bound.get(parts[0], "").replace(":", ".") if parts[0].isidentifier() else ""
    return ".".join([home, *parts[1:]]) if home else ""


def _old_numpy(file: File) -> list[int]:
    names = _numpy_names()
    bound = bindings(file.tree)
    old = {f"numpy.{name}" for name in names}
    lines = {
        node.lineno
        for node in _stays(file)
        if isinstance(node, ast.Attribute) and dotted(node, bound) in old
    }
    imports = [
        node for node in _stays(file) if isinstance(node, ast.ImportFrom) and node.module == "numpy"
    ]
    return sorted(
        lines | {node.lineno for node in imports if names & {alias.name for alias in node.names}}
    )


def _numpy_names() -> set[str]:
    """The names that the repair gives back, and today's NumPy has not."""
    numpy = importlib.import_module("numpy")
    tree = ast.parse((REPAIRS / "numpy_names.py").read_text(encoding="utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert isinstance(table, ast.Dict)
    names = {str(key.value) for key in table.keys if isinstance(key, ast.Constant)}
    return names - set(vars(numpy))


def _loads(file: File) -> list[int]:
    bound = bindings(file.tree)
    calls = [node for node in _stays(file) if isinstance(node, ast.Call)]
    loads = [node for node in calls if dotted(node.func, bound) == "torch.load"]
    return sorted(
        {
            node.lineno
            for node in loads
            if not any(key.arg == "weights_only" for key in node.keywords)
        }
    )


def frames_of(file: File) -> list[Frame]:
    """The frames that classes which stay make for themselves and then write to by columns, as MetricTracker does."""
    bound, found = bindings(file.tree), []
    for item in file.definitions:
        nodes = (
            list(ast.walk(item.node))
            if isinstance(item.node, ast.ClassDef) and not item.gives_way
            else []
        )
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                call, name = node.value.func, ast.unparse(node.targets[0])
                made = "pandas.DataFrame" in (
                    dotted(call, bound),
                    bound.get(ast.unparse(call), "").replace(":", "."),
                )
                if made and any(_writes_column(other, name) for other in nodes):
                    found.append(
                        Frame(
                            call.lineno,
                            call.col_offset,
                            (call.end_col_offset or 0) - call.col_offset,
                        )
                    )
    return found


def _writes_column(node: ast.AST, frame: str) -> bool:
    """Whether it assigns to a cell of a column: ``frame.total[key] = …``, ``frame[name].values[:] = …``."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
        return False
    column = node.value
    if isinstance(column, ast.Attribute) and column.attr == "values":
        column = column.value
    accessor = isinstance(column, ast.Attribute) and column.attr in (
        "loc",
        "iloc",
        "at",
        "iat",
        "columns",
        "index",
    )
    return (
        isinstance(column, ast.Attribute | ast.Subscript)
        and ast.unparse(column.value) == frame
        and not accessor
    )
