"""Finds the names that a project gives to the folder of a run and to its checkpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from utils.migrate.configs import Config
from utils.migrate.project import Definition, Project

FOLDER_ATTRIBUTES = ("self._save_dir", "self.save_dir", "self.checkpoint_dir")
EXTENSIONS = (".pth", ".pt", ".tar", ".ckpt", ".pkl", ".model")
UNKNOWN_FOLDER = "FOLDER_OF_THE_RUN"
# Maps segments of the names of variables to the placeholder for their value.
PLACEHOLDERS = {"run_id": "RUN_ID", "time": "RUN_ID", "stamp": "RUN_ID", "name": "NAME"}


def get_root(configs: list[Config]) -> str:
    """Returns the folder of all runs, which the config with the shortest path names."""
    config = min(configs, key=lambda item: len(item.path), default=None)
    trainer = config.values.get("trainer") if config is not None else None
    folder = trainer.get("save_dir") if isinstance(trainer, dict) else None
    return folder.rstrip("/") if isinstance(folder, str) and folder.strip("/") else "saved"


def find_run_folder(project: Project, configs: list[Config]) -> str:
    """Returns the folder that the project's kept code writes checkpoints to."""
    root = get_root(configs)
    for definition in _list_writers(project):
        values: dict[str, ast.expr] = {}
        for node in ast.walk(definition.node):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                values.setdefault(ast.unparse(node.targets[0]), node.value)
        for attribute in FOLDER_ATTRIBUTES:
            path = _render(values[attribute], values, root) if attribute in values else ""
            if path:
                return path
    return UNKNOWN_FOLDER


def _list_writers(project: Project) -> list[Definition]:
    """Returns the kept ConfigParser, and the kept trainers that save checkpoints."""
    trainers = [
        item
        for item in project.definitions
        if not item.is_replaced and "_save_checkpoint" in item.uses.self_attributes
    ]
    parser = project.find_kept("ConfigParser")
    return [parser, *trainers] if parser is not None else trainers


def _render(node: ast.expr, values: dict[str, ast.expr], root: str, depth: int = 0) -> str:
    """Returns the path that an expression makes, with placeholders; empty if it is not clear."""
    code = ast.unparse(node)
    if "save_dir" in code and isinstance(node, ast.Subscript):
        return root
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.strip("/")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        segments = [_render(part, values, root, depth) for part in (node.left, node.right)]
        return "/".join(segments) if all(segments) else ""
    if isinstance(node, ast.Call):
        segments = [_render(part, values, root, depth) for part in node.args]
        is_path = code.startswith(("os.path.join(", "Path(", "str(", "join("))
        return "/".join(segments) if is_path and segments and all(segments) else ""
    if isinstance(node, ast.Name | ast.Attribute) and code in values and depth < 5:
        path = _render(values[code], values, root, depth + 1)
        if path and code not in ast.unparse(values[code]).split("(")[0]:
            return path
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        return next((word for part, word in PLACEHOLDERS.items() if part in code.lower()), "")
    return ""


def find_checkpoint_names(project: Project) -> tuple[str, str]:
    """Returns the names of the checkpoint of epoch N and of the best one; empty if unknown."""
    names: list[str] = []
    for definition in _list_writers(project):
        for node in ast.walk(definition.node):
            if isinstance(node, ast.FunctionDef) and "save" in node.name:
                names += _list_file_names(node)
    epoch = next((name for name in names if "N" in name and "best" not in name), "")
    best = next((name for name in names if "best" in name), "")
    return epoch, best


def _list_file_names(function: ast.FunctionDef) -> Iterator[str]:
    """Yields the file names in a function, with N for each number that is filled in."""
    docstring = ast.get_docstring(function, clean=False)
    for node in ast.walk(function):
        text = ""
        if isinstance(node, ast.JoinedStr):
            segments = [str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values]
            text = "".join(segments)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            text = re.sub(r"'\s*\+\s*'", "", ast.unparse(node))
            text = re.sub(r"'\s*\+\s*[^']+\s*\+\s*'", "{}", text).strip("'")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value if node.value != docstring else ""
        if text.endswith(EXTENSIONS) and " " not in text:
            yield re.sub(r"\{[^}]*\}|%\d*[ds]", "N", text.rpartition("/")[2])
