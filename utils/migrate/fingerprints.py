"""What is the template's own: hashes of its definitions, whatever their formatting, comments and docstrings.

``fingerprints.json`` is made from the template's history: see ``tests/utils/migrate/make_fingerprints.py``.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).with_name("fingerprints.json")
FOLDERS = ("base", "logger", "utils", "trainer", "data_loader", "model")
SCRIPTS = ("train.py", "test.py", "parse_config.py", "new_project.py")


class Table(NamedTuple):
    """``hashes``: of statements, True for those with the interface of the last version; ``imports``: what
    a name was bound to by its imports; ``texts``: hashes of the files that are no Python, configs aside."""

    hashes: dict[str, bool]
    imports: dict[str, list[str]]
    texts: list[str]


def is_templates_path(path: str) -> bool:
    """Whether the template has had, or would have, a file here."""
    return path in SCRIPTS or (
        path.split("/")[0] in FOLDERS and path.count("/") == 1 and path.endswith(".py")
    )


def fingerprint(node: ast.AST) -> str:
    """The same for every formatting, comment and docstring, and for every version of Python."""
    return digest_of(_words(node).encode())


def digest_of(content: bytes) -> str:
    """The first 16 digits of its SHA-256, whatever its line ends."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:16]


def _words(value: Any) -> str:
    if isinstance(value, ast.AST):
        fields = [
            (name, item)
            for name, item in ast.iter_fields(value)
            if name not in ("ctx", "kind", "type_comment")
        ]
        if (
            isinstance(value, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(value) is not None
        ):
            fields = [(name, item[1:] if name == "body" else item) for name, item in fields]
        inside = " ".join(
            f"{name}={_words(item)}" for name, item in fields if item not in (None, [])
        )
        return f"{type(value).__name__}({inside})"
    if isinstance(value, list):
        return "[" + " ".join(map(_words, value)) + "]"
    return repr(value)


def statements(tree: ast.Module, imports: bool = False) -> list[ast.stmt]:
    """What a module does, without its docstring and (unless asked for) imports."""
    skipped = () if imports else (ast.Import, ast.ImportFrom)
    return [node for node in tree.body if not isinstance(node, skipped) and not _is_text(node)]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def bindings(tree: ast.Module) -> dict[str, str]:
    """What each name that a module imports stands for, as ``module:name``."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = "." * node.level + (node.module or "")
            found |= {alias.asname or alias.name: f"{home}:{alias.name}" for alias in node.names}
    return found


@cache
def table() -> Table:
    return Table(**json.loads(TABLE.read_text(encoding="utf-8")))
