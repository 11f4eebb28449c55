"""Reads a project without running it: what is the template's own, changed or added, and what gives way."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import UserError

from .fingerprints import bindings, fingerprint, is_templates_path, statements, table

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".git", "__pycache__", "saved", ".venv", "venv", ".idea", ".vscode", ".ipynb_checkpoints"}

# What ours asks of its neighbours, beyond what the template's definitions name: it gives way together with them.
TOGETHER = {
    "BaseTrainer": ("ConfigParser", "setup_logging", "TensorboardWriter", "prepare_device", "ensure_dir", "write_json"),
    "ConfigParser": ("BaseTrainer",),
    "train.py": ("ConfigParser", "BaseTrainer", "prepare_device"),
    "test.py": ("train.py", "ConfigParser"),
    "Trainer": ("BaseTrainer", "MetricTracker", "inf_loop"),
}
PRIVATE = ("log_levels", "_config", "_save_dir", "_log_dir", "_update_config", "_get_opt_name", "_set_by_path")


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


@dataclass
class File:
    """One Python file of the project."""

    path: str
    text: str
    tree: ast.Module
    definitions: list[Definition] = field(default_factory=list)

    @property
    def templates(self) -> bool:
        return is_templates_path(self.path)

    @property
    def gone(self) -> bool:
        """Nothing of it is left: ours stands in its place."""
        return self.templates and all(definition.gives_way for definition in self.definitions)


@dataclass
class Survey:
    """A project that was read."""

    folder: Path
    files: dict[str, File]
    unread: dict[str, str]  # files that do not parse, and why
    others: list[str]  # that are no Python


def our_names() -> dict[str, str]:
    """Where each of our names is that stands for one of the template's."""
    found = {"ConfigParser": "config.parser"}
    for path in [*ROOT.glob("*/*.py")]:
        home = path.relative_to(ROOT).as_posix()
        if home.split("/")[0] in ("base", "logger", "utils", "trainer", "data_loader", "model"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    found.setdefault(node.name, home.removesuffix(".py").replace("/", "."))
    return found


def read(folder: Path) -> Survey:
    """Reads all of a project.

    Raises:
        UserError: there is none, or it was not made from pytorch-template.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    survey = Survey(folder, {}, {}, [])
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if set(relative.parts) & SKIPPED or not path.is_file() or path.is_symlink():
            continue
        if path.suffix != ".py":
            survey.others.append(relative.as_posix())
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of invalid escapes in the project's strings
                survey.files[relative.as_posix()] = File(relative.as_posix(), text, ast.parse(text))
        except (SyntaxError, ValueError) as error:
            survey.unread[relative.as_posix()] = f"line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
    if not ({"base/base_trainer.py"} & {*survey.files, *survey.unread}):
        raise UserError(f"{folder}: not a pytorch-template project: there is no base/base_trainer.py")
    _classify(survey)
    _decide(survey)
    return survey


def _classify(survey: Survey) -> None:
    known = table()
    templates_names = {*our_names(), "WriterTensorboardX", "Logger"}
    for file in survey.files.values():
        bound = bindings(file.tree)
        foreign = {name for name, target in bound.items() if target not in known.imports.get(name, [target])}
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


def _decide(survey: Survey) -> None:
    """Gives way what is the template's own, if ours has it and all that it stands on gives way too."""
    ours = our_names()
    where = {(file.path, id(item)): (file, item) for file in survey.files.values() for item in file.definitions}
    names: dict[str, list[Definition]] = {}
    for file, item in where.values():
        item.gives_way = item.kind == "own"
        if item.gives_way and not item.current:
            item.gives_way, item.why = False, "of an older version, with another interface"
        if file.templates:
            names.setdefault(item.name, []).append(item)
    for script in ("train.py", "test.py"):
        names[script] = survey.files[script].definitions if script in survey.files else []
    if _reaches_inside(survey):
        _stay(names.get("ConfigParser", []), "as other files use what is inside it")
    changed = True
    while changed:
        changed = False
        for file, item in where.values():
            why = _obstacle(file, item, names, ours) if item.gives_way else ""
            if why:
                item.gives_way, item.why, changed = False, why, True


def _stay(items: list[Definition], why: str) -> None:
    for item in items:
        if item.gives_way:
            item.gives_way, item.why = False, why


def _obstacle(file: File, item: Definition, names: dict[str, list[Definition]], ours: dict[str, str]) -> str:
    """Why a definition cannot give way; '' if it can."""
    if file.path in ("train.py", "test.py"):
        if not all(other.kind == "own" for other in file.definitions):
            return "as the file is changed"
        needed: tuple[str, ...] = TOGETHER[file.path]
    else:
        used = {part.id for part in ast.walk(item.node) if isinstance(part, ast.Name)}
        needed = (*TOGETHER.get(item.name, ()), *sorted(used & set(names)))
        private = file.path == "parse_config.py" and item.name.startswith("_")
        if private and any(not other.gives_way for other in names.get("ConfigParser", [])):
            return "as ConfigParser stays"
        if item.name and item.name not in ours and not private and file.path != "new_project.py":
            return "as ours has no such name"
    for name in needed:
        kept = [other for other in names.get(name, []) if not other.gives_way and other is not item]
        if kept:
            return f"as {name} is {kept[0].kind if kept[0].kind != 'own' else 'kept'}"
    return ""


def _reaches_inside(survey: Survey) -> bool:
    """Whether other files use what the template's ConfigParser has, and ours has not."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in PRIVATE and not isinstance(node.value, ast.Call)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self" and "config" not in path)
        for path, file in survey.files.items()
        if path != "parse_config.py"
        for node in ast.walk(file.tree)
    )  # fmt: skip
