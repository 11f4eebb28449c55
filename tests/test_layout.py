"""The structure that makes the framework readable, measured: see the READMEs of the rooms."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers import ROOT

TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "base",
    "config",
    "data_loader",
    "logger",
    "model",
    "pyproject.toml",
    "saved",
    "test.py",
    "tests",
    "train.py",
    "trainer",
    "utils",
}
READING_LIST = [  # what shows how training works, in this order
    "train.py",
    "trainer/trainer.py",
    "base/loop/update.py",
    "base/base_trainer.py",
    "base/loop/progress.py",
    "base/loop/metrics.py",
    "base/base_data_loader.py",
    "base/data/sampler.py",
    "base/checkpoint/manager.py",
    "base/checkpoint/train_state.py",
    "config/parser.py",
    "config/build.py",
]
# Words that had a private meaning once, or many: they are no names any more.
BANNED_WORDS = {
    "alone",
    "bill",
    "cut",
    "fates",
    "own",
    "parts",
    "place",
    "share",
    "spoiled",
    "together",
    "told",
    "whole",
    "within",
}
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_COLUMNS = 100
MAX_READING_LINES = 2000
MAX_CLOSURE_FILES = 30


def list_files(*patterns: str) -> list[str]:
    """The files of the project that match, those that git does not know yet among them."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = listed.stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file() and "/fixtures/" not in name]


def parse(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def read_lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


SOURCES = list_files("*.py")
PRODUCT = [name for name in SOURCES if not name.startswith("tests/")]


def test_the_top_level_is_the_given_one() -> None:
    assert {name.split("/")[0] for name in list_files()} <= TOP_LEVEL


def test_the_programs_fit_on_two_screens_and_the_loop_on_four() -> None:
    assert len(read_lines("train.py")) <= 100
    assert len(read_lines("test.py")) <= 100
    assert len(read_lines("trainer/trainer.py")) <= 200


def test_the_reading_list_takes_an_afternoon() -> None:
    assert len(READING_LIST) <= 12
    assert sum(len(read_lines(name)) for name in READING_LIST) <= MAX_READING_LINES


def test_files_and_functions_are_short() -> None:
    lengths = {name: len(read_lines(name)) for name in SOURCES}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}
    functions = {
        f"{name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for name in SOURCES
        for node in ast.walk(parse(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {spot: n for spot, n in functions.items() if n > MAX_FUNCTION_LINES} == {}


def test_no_line_is_longer_than_100_columns() -> None:
    names = list_files("*.py", "*.md", "*.yaml", "*.yml", "*.toml", "Makefile", ".ci/*")
    found = [
        f"{name}:{number}"
        for name in names
        for number, line in enumerate(read_lines(name), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert found == []


# -- imports -----------------------------------------------------------------------------------


def find_file(module: str) -> str | None:
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        if (ROOT / name).is_file():
            return name
    return None


def list_imports(node: ast.AST) -> Iterator[str]:
    """The modules that are imported when a module is, without those of type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from list_imports(child)


def test_the_trainer_imports_at_most_30_files() -> None:
    """A package's ``__init__`` counts where something is imported from the package itself."""
    closure: set[str] = set()
    waiting = ["trainer.trainer"]
    while waiting:
        name = find_file(waiting.pop())
        if name is not None and name not in closure:
            closure.add(name)
            waiting.extend(list_imports(parse(name)))
    assert len(closure) <= MAX_CLOSURE_FILES, sorted(closure)


# -- names ---------------------------------------------------------------------------------------


def list_names(tree: ast.Module) -> Iterator[str]:
    """Every name that the code of a module gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias) and node.asname is not None:
            yield node.asname


def test_names_are_those_of_the_field() -> None:
    found = {
        (name, identifier)
        for name in SOURCES
        for identifier in list_names(parse(name))
        if set(identifier.lower().split("_")) & BANNED_WORDS
    }
    assert found == set()


# -- state ---------------------------------------------------------------------------------------


# Methods of the contract with pytorch-template: public in all but name.
CONTRACT = {"_train_epoch", "_valid_epoch", "_save_checkpoint", "_resume_checkpoint", "_progress"}


def list_privates() -> set[str]:
    """The private attributes and functions of this project."""
    found = set()
    for name in PRODUCT:
        for node in ast.walk(parse(name)):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.startswith("__")} - CONTRACT


def test_no_object_uses_the_privates_of_another() -> None:
    """A class may use its privates on another object of itself, as in ``clone``."""
    privates = list_privates()
    found = []
    for name in PRODUCT:
        uses = [
            (ast.unparse(node.value), node.attr, node.lineno)
            for node in ast.walk(parse(name))
            if isinstance(node, ast.Attribute) and node.attr in privates
        ]
        of_this_class = {attribute for receiver, attribute, _ in uses if receiver == "self"}
        found += [
            f"{name}:{line}: {receiver}.{attribute}"
            for receiver, attribute, line in uses
            if receiver not in ("self", "cls", "super()") and attribute not in of_this_class
        ]
    assert found == []


def test_every_trainer_has_a_type() -> None:
    found = [name for name in PRODUCT if any("trainer: Any" in line for line in read_lines(name))]
    assert found == []


def test_no_checkpoint_is_read_with_the_right_to_run_code() -> None:
    """``old_objects.py`` gives torch a pickle module that calls functions of a fixed list only."""
    found = set()
    for name in PRODUCT:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            pairs: list[tuple[Any, Any]] = []
            if isinstance(node, ast.keyword):
                pairs = [(ast.Constant(node.arg), node.value)]
            elif isinstance(node, ast.Dict):
                pairs = list(zip(node.keys, node.values, strict=True))
            found |= {name for key, value in pairs if _is_turned_off(key, value)}
    assert found == {"base/checkpoint/old_objects.py"}


def _is_turned_off(key: Any, value: Any) -> bool:
    return ast.unparse(key or value) == "'weights_only'" and ast.unparse(value) == "False"


def test_every_core_file_is_watched_by_the_import_contracts() -> None:
    """A file of the core that no contract names could import an optional room unseen."""
    import tomllib

    with Path(ROOT, "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    forbidden = next(entry for entry in contracts if "in a register" in entry["name"])
    watched = tuple(forbidden["source_modules"] + forbidden["forbidden_modules"])
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in PRODUCT
        if "/" in name and not name.startswith("utils/")
    ]
    unwatched = [
        module
        for module in modules
        if not any(module == prefix or module.startswith(f"{prefix}.") for prefix in watched)
        and not (ROOT / (find_file(module) or "")).match("__init__.py")
    ]
    assert unwatched == []
