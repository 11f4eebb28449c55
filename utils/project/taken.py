"""What a migrated project takes from Plainloop, so that an upgrade can take it again."""

from __future__ import annotations

import ast
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from utils.project.record import Record, get_blob_id
from utils.project.source import open_framework

PACKAGES = ("base", "config", "logger", "utils")  # taken by every project, rooms included
REPAIRS_FOLDER = "utils/migrate/repairs"
REPAIRS_DOCSTRING = '"""Keeps the project working as it did before; see MIGRATION.md."""\n'
PARSE_CONFIG = '''"""ConfigParser, in the module where pytorch-template has it."""

from {package} import ConfigParser  # noqa: F401
'''


@dataclass
class Taken:
    """The choices of a migration. The record of the project keeps them.

    Attributes:
        renamed: Plainloop's modules and packages that have another name in this project.
        files: Plainloop's files outside of its packages that the project takes, such as train.py.
        left_out: paths that the project has files of its user for.
        repairs: the names of the repairs.
        activated: the files that import repairs, with the names and purposes of these.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    activated: dict[str, dict[str, str]] = field(default_factory=dict)


def read_taken(root: Path, taken: Taken) -> dict[str, str]:
    """Reads what a project takes from the framework in the folder ``root``.

    Returns:
        The texts of the files, by their paths in the project.
    """
    paths = [
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in sorted(root.glob(f"{package}/**/*.py"))
        if not path.is_relative_to(root / "utils/migrate")
    ]
    texts = {}
    for path in [*paths, *taken.files]:
        if (root / path).is_file():
            text = (root / path).read_text(encoding="utf-8")
            is_code = path.endswith(".py")
            new_path = _get_new_path(path, taken) if is_code else path
            texts[new_path] = rename_imports(text, taken.renamed) if is_code else text
    texts["parse_config.py"] = PARSE_CONFIG.format(package=taken.renamed.get("config", "config"))
    if taken.repairs:
        texts["repairs/__init__.py"] = REPAIRS_DOCSTRING
    for name in taken.repairs:
        repair = root / REPAIRS_FOLDER / f"{name}.py"
        if repair.is_file():
            text = repair.read_text(encoding="utf-8")
            texts[f"repairs/{name}.py"] = rename_imports(text, taken.renamed)
    texts = {path: text for path, text in texts.items() if path not in taken.left_out}
    for path, repairs in taken.activated.items():
        new_path = _get_new_path(path, taken)
        if new_path in texts:
            texts[new_path] = activate_repairs(texts[new_path], repairs)
    return texts


def make_record(root: Path, taken: Taken) -> Record:
    """Returns the record of a project that takes this from the framework in ``root``."""
    framework = open_framework(root)
    texts = read_taken(root, taken)
    files = {path: get_blob_id(text.encode()) for path, text in sorted(texts.items())}
    commit, choices = framework.commit, asdict(taken)
    return Record(framework.version, commit, str(root), files=files, migration=choices)


def take_again(root: Path, target: Path, migration: dict[str, object]) -> Record:
    """Writes what a migrated project takes from a version of the framework.

    Args:
        root: the folder of the framework.
        target: a new folder for the files.
        migration: from the record of the project.

    Returns:
        The record of the project with these files.
    """
    taken = Taken(**migration)  # type: ignore[arg-type]  # as make_record wrote it
    for path, text in read_taken(root, taken).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8", newline="\n")
    return make_record(root, taken)


def get_new_name(module: str, renamed_modules: dict[str, str]) -> str:
    """Returns the name of one of Plainloop's modules in the new project."""
    names = module.split(".")
    for end in range(len(names), 0, -1):  # a module first, then the packages around it
        prefix = ".".join(names[:end])
        if prefix in renamed_modules:
            names[:end] = renamed_modules[prefix].split(".")
    return ".".join(names)


def _get_new_path(path: str, taken: Taken) -> str:
    module = path.removesuffix(".py").replace("/", ".")
    return get_new_name(module, taken.renamed).replace(".", "/") + ".py"


def rename_imports(text: str, renamed_modules: dict[str, str]) -> str:
    """Adapts one of Plainloop's files to the names that its modules have in the new project.

    All imports in Plainloop are absolute.
    """
    for old, new in renamed_modules.items():
        statement = rf"^(\s*(?:from|import) ){re.escape(old)}(?=[ .])"
        text = re.sub(statement, rf"\g<1>{new}", text, flags=re.M)
        text = re.sub(rf'(?<=["(]){re.escape(old)}(?=["\'.])', new, text)  # in strings
        package, _, name = old.rpartition(".")
        if package:
            start = rf"^(\s*from {re.escape(package)} import )"
            new_name = new.rpartition(".")[2]
            statement = rf"{start}{name}(?: as {name})?(?=\s*(?:#|$))"
            text = re.sub(statement, rf"\g<1>{new_name} as {name}", text, flags=re.M)
    return text


def activate_repairs(text: str, repairs: dict[str, str]) -> str:
    """Imports repairs at the start of the text of a file.

    Args:
        text: of the file.
        repairs: the name and the purpose of each.
    """
    imports = [f"import repairs.{name}  # {purpose}\n" for name, purpose in repairs.items()]
    if not imports:
        return text
    lines = text.splitlines(keepends=True)
    start = count_head_lines(ast.parse(text), lines)
    if start > 0:
        imports.insert(0, "\n")
    return "".join(lines[:start] + imports + lines[start:])


def count_head_lines(tree: ast.Module, lines: list[str]) -> int:
    """Counts the lines that must come before an import.

    They are the docstring, imports from ``__future__``, and the comments below them.
    """
    count = 0
    for index, node in enumerate(tree.body):
        is_docstring = (
            index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not is_docstring and not is_future:
            break
        count = node.end_lineno or 0
    while count < len(lines) and lines[count].startswith("#"):
        count += 1
    return count
