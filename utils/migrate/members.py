"""What members a class has: methods, attributes and parameters, the project's and Plainloop's."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from utils.migrate.fingerprints import get_bindings
from utils.migrate.plainloop import REPAIRS, ROOT, find_modules
from utils.migrate.project import Definition, NamedStatement


def list_attributes(node: ast.AST) -> set[str]:
    """Returns the methods of a class and the attributes that it sets."""
    if not isinstance(node, ast.ClassDef):
        return set()
    methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    attributes = methods - {"__getattr__"}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            if ast.unparse(part.value) == "self":
                attributes.add(part.attr)
        elif isinstance(part, ast.Assign | ast.AnnAssign) and part in node.body:
            attributes |= {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
    return attributes


def list_plainloop_attributes(name: str) -> set[str]:
    """Returns the attributes of the class that replaces the template's, parents included."""
    if name == "BaseDataLoader":
        return _list_attributes_in(REPAIRS / "template_order.py", name)
    module = find_modules().get(name, "")
    return _list_attributes_in(ROOT / f"{module.replace('.', '/')}.py", name)


@cache
def _list_attributes_in(path: Path, name: str) -> set[str]:
    """Returns the attributes of a class in a file, with those of its parents in Plainloop."""
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        return set()
    attributes = list_attributes(classes[name])
    imported = get_bindings(tree)
    for base in classes[name].bases:
        parent = ast.unparse(base)
        module = imported.get(parent, "").rpartition(":")[0]
        parent_path = ROOT / f"{module.replace('.', '/')}.py" if module else path
        attributes |= _list_attributes_in(parent_path, parent)
    return attributes


def list_added_parameters(definition: Definition) -> set[str]:
    """Returns the parameters of its functions that Plainloop's functions of these names lack.

    A function of Plainloop's that takes any arguments lacks none.
    """
    theirs = _list_functions(definition.node)
    path = ROOT / f"{find_modules().get(definition.name, '').replace('.', '/')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, NamedStatement) and node.name == definition.name:
            for name, parameters in _list_functions(node).items():
                found |= theirs.get(name, set()) - parameters if "**" not in parameters else set()
    return found - {"self", "cls", "**"}


def _list_functions(node: ast.stmt) -> dict[str, set[str]]:
    """Maps each function of a class, or the function itself, to its parameters."""
    candidates = node.body if isinstance(node, ast.ClassDef) else [node]
    functions = [part for part in candidates if isinstance(part, ast.FunctionDef)]
    found = {}
    for function in functions:
        arguments = function.args
        found[function.name] = {
            *(item.arg for item in (*arguments.posonlyargs, *arguments.args)),
            *(item.arg for item in arguments.kwonlyargs),
            *(["**"] if arguments.kwarg else []),
        }
    return found
