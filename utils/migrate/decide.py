"""Decides what of the template's own gives way to ours; whatever might change what the rest of a project does stays."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from utils.migrate.configs import Config
from utils.migrate.needed_repairs import REPAIRS
from utils.migrate.project import LOWER, ROOT, Definition, File, Survey, our_names

# What ours asks of its neighbours, beyond what the template's definitions name: it gives way together with them.
TOGETHER = {
    "BaseTrainer": (
        "ConfigParser",
        "setup_logging",
        "TensorboardWriter",
        "prepare_device",
        "ensure_dir",
        "write_json",
    ),
    "ConfigParser": ("BaseTrainer",),
    "train.py": ("ConfigParser", "BaseTrainer", "prepare_device"),
    "test.py": ("train.py", "ConfigParser"),
    "Trainer": ("BaseTrainer", "MetricTracker", "inf_loop"),
}
MANY = "asks for more than one GPU"
CHECKPOINTS = ("model_best", "checkpoint-epoch")  # names of files that ours calls otherwise

Place = tuple[File, Definition]


def decide(survey: Survey, configs: list[Config]) -> None:
    """Gives way what is the template's own, if ours has it and all that it stands on gives way too."""
    items = [(file, item) for file in survey.files.values() for item in file.definitions]
    for _, item in items:
        item.gives_way = item.kind == "own" and item.current
        if item.kind == "own" and not item.current:
            item.why = "of an older version, with another interface"
    _stars(survey)
    changed = True
    while changed:
        changed = False
        rest = [place for place in items if not place[1].gives_way]
        for file, item in items:
            why = _obstacle(survey, file, item, rest, configs) if item.gives_way else ""
            if why:
                item.gives_way, item.why, changed = False, why, True
    _keep_packages(survey)


def _stars(survey: Survey) -> None:
    """A file of which another imports all (``from utils.util import *``) keeps its imports."""
    wanted = set()
    for file in survey.files.values():
        for node in file.tree.body if not file.path.endswith("__init__.py") else ():
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                beside = [file.module.rpartition(".")[0]] * (node.level == 1)
                wanted.add(".".join([*beside, *([node.module] if node.module else [])]))
    for file in survey.files.values():
        file.whole = (
            bool({file.module, file.module.rpartition(".")[0]} & wanted)
            and "__init__" not in file.path
        )


def _keep_packages(survey: Survey) -> None:
    """The template's own ``__init__`` stays where a file beside it does: it imports all of each."""
    for file in survey.files.values():
        folder, _, name = file.path.rpartition("/")
        beside = [
            other
            for other in survey.kept
            if other.path.rpartition("/")[0] == folder and other is not file
        ]
        if name == "__init__.py" and folder in LOWER and beside:
            file.whole = True
            for item in file.definitions:
                item.gives_way, item.why = False, "as it imports what is kept beside it"


def _obstacle(
    survey: Survey, file: File, item: Definition, rest: list[Place], configs: list[Config]
) -> str:
    """Why a definition cannot give way; '' if it can."""
    ours = our_names()
    folder = file.path.split("/")[0]
    scripts = file.path in ("train.py", "test.py")
    private = file.path == "parse_config.py" and item.name.startswith("_")
    if (scripts or (folder not in LOWER and "/" in file.path)) and any(
        not x.gives_way for x in file.definitions
    ):
        return "with what else is in its file"
    if item.name and not scripts and not private and file.path != "new_project.py":
        if item.name not in ours:
            return "as ours has no such name"
        if folder not in LOWER and "/" in file.path and ours[item.name] != file.module:
            return f"as ours has it in {ours[item.name]}"
    if private and (
        survey.staying("ConfigParser") or any(item.name in other.uses.names for _, other in rest)
    ):
        return "as it is used by what stays"
    needed = TOGETHER.get(file.path if scripts else item.name, ())
    used = item.uses.names & {other.name for kept, other in rest if kept.templates} - {
        "",
        item.name,
    }
    for name in (
        needed if scripts else (*needed, *sorted(used))
    ):  # our programs take a trainer of any kind
        if kept := survey.staying(name):
            return f"as {name} is {kept[1].kind if kept[1].kind != 'own' else 'kept'}"
    return next(_reaches(item, rest, configs), "")


def _reaches(item: Definition, rest: list[Place], configs: list[Config]) -> Iterator[str]:
    """What of the rest uses what the template's definition has, or does, and ours has, or does, not."""
    hidden = _attributes(item.node) - _our_attributes(item.name)
    heirs = _heirs(item.name, rest)
    for file, other in rest:
        uses = other.uses
        seen = {**uses.others, **(uses.own if other.name in heirs else {})}
        where = f"as {file.path}:"
        yield from (f"{where}{seen[name]} uses its `{name}`" for name in sorted(hidden & set(seen)))
        if item.name == "BaseTrainer":
            yield from (
                f"{where}{n} names `{t}`"
                for t, n in uses.texts.items()
                if any(c in t for c in CHECKPOINTS)
            )
        if item.name == "ConfigParser" and other.name not in _heirs("BaseTrainer", rest):
            yield from (
                f"{where}{uses.others[n]} uses `{n}`"
                for n in ("save_dir", "log_dir")
                if n in uses.others
            )
        if item.name == "Trainer" and "len_epoch" in uses.keywords:
            yield f"{where}{uses.keywords['len_epoch']} sets `len_epoch`, of which ours makes one batch less"
    for config in configs:
        if item.name == "ConfigParser" and config.problem:
            yield f"as {config.problem}"
        if item.name == "BaseTrainer" and config.n_gpu > 1:  # ours would start as many processes
            yield f"as {config.path} {MANY}, for which it has DataParallel"


def _heirs(name: str, rest: list[Place]) -> set[str]:
    """The classes that stay and derive from the one of this name."""
    found = {name}
    while new := {item.name for _, item in rest if item.uses.bases & found and item.name} - found:
        found |= new
    return found - {name}


def _attributes(node: ast.AST) -> set[str]:
    """The methods of a class, and what it sets in itself."""
    if not isinstance(node, ast.ClassDef):
        return set()
    found = {part.name for part in node.body if isinstance(part, ast.FunctionDef)} - {"__getattr__"}
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Attribute)
            and isinstance(part.ctx, ast.Store)
            and ast.unparse(part.value) == "self"
        ):
            found.add(part.attr)
        elif isinstance(part, ast.Assign | ast.AnnAssign) and part in node.body:
            found |= {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
    return found


def _our_attributes(name: str) -> set[str]:
    """The same of our class that stands for it in the new folder."""
    home = our_names().get(name, "")
    path = (
        REPAIRS / "template_order.py"
        if name == "BaseDataLoader"
        else ROOT / f"{home.replace('.', '/')}.py"
    )
    if not path.is_file():
        return set()
    nodes = {
        getattr(node, "name", ""): node for node in ast.parse(path.read_text(encoding="utf-8")).body
    }
    found, names = set(), [name]
    while names:
        node = nodes.get(names.pop())
        if node is not None:
            found |= _attributes(node)
            names += [base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)]
    return found
