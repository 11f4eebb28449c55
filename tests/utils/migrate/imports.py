"""Walks the imports of a folder, without running its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from utils.migrate.fingerprints import get_bindings


def find_broken_imports(folder: Path, unchecked: Path) -> list[str]:
    """Returns the imports of modules or names that the folder lacks, as ``file:line: import``.

    Args:
        folder: a project. Imports of other packages are not checked.
        unchecked: files that are the same here are not checked; they import their neighbours.
    """
    broken = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        other = unchecked / name
        if other.is_file() and other.read_bytes() == path.read_bytes():
            continue
        for node, module, names in _list_imports(path, name):
            first = module.split(".")[0]
            if not (folder / first).is_dir() and not (folder / f"{first}.py").is_file():
                continue
            known = _list_names(folder, module)
            missing = names - known if known is not None else {module}
            broken += [f"{name}:{node.lineno}: {module} {item}" for item in sorted(missing)]
    return broken


def _list_imports(path: Path, name: Path) -> Iterator[tuple[ast.stmt, str, set[str]]]:
    """Yields each import with the full name of its module and the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, set()
        elif isinstance(node, ast.ImportFrom):
            around = name.parent.parts[: len(name.parent.parts) - node.level + 1]
            segments = [*(around if node.level else ()), *filter(None, [node.module])]
            yield node, ".".join(segments), {alias.name for alias in node.names} - {"*"}


@cache
def _list_names(folder: Path, module: str) -> set[str] | None:
    """Returns the names in a module, and the modules in a package; None if there is no module."""
    base = folder / module.replace(".", "/")
    path = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    if not base.is_dir() and not path.is_file():
        return None
    names = {item.stem for item in base.glob("*") if item.suffix == ".py" or item.is_dir()}
    if not path.is_file():
        return names
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= set(get_bindings(ast.Module([node], [])))
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            prefix = package if node.level else ""
            source = ".".join(filter(None, [prefix, node.module]))
            names |= _list_names(folder, source) or set()
    return names
