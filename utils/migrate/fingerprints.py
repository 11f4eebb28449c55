"""Recognizes the template's code: hashes of its definitions.

Formatting, comments and docstrings do not change a hash. ``fingerprints.json`` is made from the
history of the template by ``tests/utils/migrate/make_fingerprints.py``.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE_PATH = Path(__file__).with_name("fingerprints.json")
TEMPLATE_FOLDERS = ("base", "logger", "utils", "trainer", "data_loader", "model")
TEMPLATE_SCRIPTS = ("train.py", "test.py", "parse_config.py", "new_project.py")


@dataclass(frozen=True)
class FingerprintTable:
    """Fingerprints of all versions of the template.

    Attributes:
        hashes: maps the hash of a statement to whether it has the interface of the last version.
        imports: what each name was bound to by the template's imports, as ``module:name``.
        texts: the digests of its files that are not Python, except for configs.
    """

    hashes: dict[str, bool]
    imports: dict[str, list[str]]
    texts: list[str]


@cache
def load_table() -> FingerprintTable:
    """Reads ``fingerprints.json``."""
    return FingerprintTable(**json.loads(TABLE_PATH.read_text(encoding="utf-8")))


def is_template_path(path: str) -> bool:
    """Whether the template has, or could have, a Python file at ``path``."""
    in_folder = path.split("/")[0] in TEMPLATE_FOLDERS and path.count("/") == 1
    return path in TEMPLATE_SCRIPTS or (in_folder and path.endswith(".py"))


def compute_fingerprint(node: ast.AST) -> str:
    """Returns a hash of a statement. It is the same in every version of Python."""
    return compute_digest(_serialize(node).encode())


def compute_digest(content: bytes) -> str:
    """Returns the first 16 digits of the SHA-256. Both kinds of line ends give the same digest."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:16]


def _serialize(value: Any) -> str:
    """Returns a text for a syntax tree, without docstrings and what differs between Pythons."""
    if isinstance(value, list):
        return "[" + " ".join(map(_serialize, value)) + "]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = {
        name: item
        for name, item in ast.iter_fields(value)
        if name not in ("ctx", "kind", "type_comment")
    }
    if isinstance(value, ast.Module | ast.ClassDef | ast.FunctionDef) and value.body:
        has_docstring = _is_text(value.body[0])
        fields["body"] = value.body[1:] if has_docstring else value.body
    texts = [
        f"{name}={_serialize(item)}" for name, item in fields.items() if item not in (None, [])
    ]
    return f"{type(value).__name__}({' '.join(texts)})"


def list_statements(tree: ast.Module, with_imports: bool = False) -> list[ast.stmt]:
    """Returns the top-level statements of a module except for texts and, by default, imports."""
    skipped = () if with_imports else (ast.Import, ast.ImportFrom)
    return [node for node in tree.body if not isinstance(node, skipped) and not _is_text(node)]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def get_bindings(tree: ast.Module, inside_functions: bool = False) -> dict[str, str]:
    """Maps each name that a module imports to its origin: ``module``, or ``module:name``."""
    bindings: dict[str, str] = {}
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            bindings |= {
                alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            bindings |= {
                alias.asname or alias.name: f"{module}:{alias.name}" for alias in node.names
            }
    return bindings
