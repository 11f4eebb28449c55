"""Lays a project over our framework: the text of every file of the new folder."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from utils.migrate.fingerprints import digest_of, table
from utils.migrate.needed_repairs import Repair, frames_of, repairs_of
from utils.migrate.project import LOWER, ROOT, File, Survey, our_names

PACKAGES = ("base", "config", "logger", "utils")
PREFIX = "plainloop_"  # of our files where the project has one of that name
PARSE_CONFIG = '"""ConfigParser, where pytorch-template had it."""\n\nfrom {} import ConfigParser  # noqa: F401\n'


@dataclass
class Folder:
    """What is to be written: texts, and files of the project that are copied, by path."""

    texts: dict[str, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)  # our modules that have another name here
    repairs: list[Repair] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)  # the template's own files that are no Python


def compose(survey: Survey) -> Folder:
    """Decides for every file whose it is, and fits the two together."""
    folder = Folder(moved=_moved(survey), repairs=repairs_of(survey))
    kept = {file.path for file in survey.kept}
    folder.texts = {
        path: text for path, text in _ours(survey, folder.moved).items() if path not in kept
    }
    folder.texts |= _repairs(folder)
    for file in survey.kept:
        text = _fitted(file, folder.moved)
        if text == file.text:
            folder.copied.append(file.path)
        else:
            folder.texts[file.path] = text
    _call_repairs(survey, folder)
    for path in survey.others:
        (folder.dropped if _is_templates(survey, path) else folder.copied).append(path)
    _settings(survey, folder)
    return folder


def _moved(survey: Survey) -> dict[str, str]:
    """Our modules and packages whose place the project takes."""
    there = {path for path in (*survey.files, *survey.others) if path.endswith(".py")}
    moved = {}
    for package in PACKAGES:
        if f"{package}.py" in there or (
            package == "config" and any(path.startswith("config/") for path in there)
        ):
            moved[package] = PREFIX + package
    for file in survey.kept:
        name = file.path.rpartition("/")[2]
        if (
            file.path.split("/")[0] in LOWER
            and (ROOT / file.path).is_file()
            and name != "__init__.py"
        ):
            moved[file.module] = (
                f"{file.module.rpartition('.')[0]}.{PREFIX}{file.module.rpartition('.')[2]}"
            )
    return moved


def moved_to(module: str, moved: dict[str, str]) -> str:
    """What a module of ours is called there."""
    module = moved.get(module, module)
    package = module.partition(".")[0]
    return moved.get(package, package) + module[len(package) :]


def _ours(survey: Survey, moved: dict[str, str]) -> dict[str, str]:
    """Our files: all of the lower floors, and of the upper one those that stand in for the project's."""
    gone = {path for path, file in survey.files.items() if file.gone} | {*survey.unread}
    paths = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted(ROOT.glob(f"{package}/**/*.py"))
        if not path.is_relative_to(ROOT / "utils" / "migrate")
    ]
    paths += [
        path
        for path in sorted(gone)
        if path.split("/")[0] not in PACKAGES and (ROOT / path).is_file()
    ]
    found = {}
    for path in paths:
        new = moved_to(path.removesuffix(".py").replace("/", "."), moved).replace(".", "/") + ".py"
        found[new] = _renamed((ROOT / path).read_text(encoding="utf-8"), path, moved)
    if "parse_config.py" not in survey.files or survey.files["parse_config.py"].gone:
        found["parse_config.py"] = PARSE_CONFIG.format(moved.get("config", "config"))
    return found


def _renamed(text: str, path: str, moved: dict[str, str]) -> str:
    """A text of ours that imports what has another name here."""
    here = path.rpartition("/")[0].replace("/", ".")
    for old, new in moved.items():
        package, _, module = old.rpartition(".")
        text = re.sub(
            rf"^(\s*(?:from|import) ){re.escape(old)}(?=[ .])", rf"\g<1>{new}", text, flags=re.M
        )
        text = re.sub(rf'(?<=["(]){re.escape(old)}(?=["\'])', new, text)
        if module and package == here:
            name = new.rpartition(".")[2]
            text = re.sub(rf"^(\s*from )\.{module}(?= )", rf"\g<1>.{name}", text, flags=re.M)
            text = re.sub(
                rf"^(\s*from \. import ){module}$", rf"\g<1>{name} as {module}", text, flags=re.M
            )
    return text


def _fitted(file: File, moved: dict[str, str]) -> str:
    """A file of the project: what gives way is imported from ours, and frames write through."""
    gone = [item for item in file.definitions if item.gives_way and item.name]
    frames = frames_of(file)
    if not gone and not frames:
        return file.text
    lines = file.text.splitlines(keepends=True) if "\f" not in file.text else file.text.split("\n")
    for line, column, length in sorted(frames, reverse=True):
        row = lines[line - 1].encode()
        lines[line - 1] = (row[:column] + b"LiveFrame" + row[column + length :]).decode()
    for item in gone:
        for number in range(item.start, (item.node.end_lineno or item.start) + 1):
            lines[number - 1] = ""
    imports: dict[str, list[str]] = {}
    for item in gone:
        if item.name in our_names():
            imports.setdefault(moved_to(our_names()[item.name], moved), []).append(item.name)
    added = [
        f"from {home} import {', '.join(sorted(names))}\n"
        for home, names in sorted(imports.items())
    ]
    added += ["from repairs.live_frame import LiveFrame\n"] * bool(frames)
    at = first_line(file.tree, lines)
    return "".join(lines[:at] + added + lines[at:])


def first_line(tree: ast.Module, lines: list[str]) -> int:
    """How many lines stand before the first one that imports may follow."""
    head = 0
    for index, node in enumerate(tree.body):
        text = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not text and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        head = node.end_lineno or 0
    while head < len(lines) and lines[head].startswith("#"):
        head += 1
    return head


def _repairs(folder: Folder) -> dict[str, str]:
    """The package of what makes the project run as before."""
    if not folder.repairs:
        return {}
    texts = {
        "repairs/__init__.py": '"""What lets the project run as it did; see MIGRATION.md."""\n'
    }
    for repair in folder.repairs:
        path = f"repairs/{repair.name}.py"
        text = (Path(__file__).parent / path).read_text(encoding="utf-8")
        texts[path] = _renamed(text, path, folder.moved)
    return texts


def _call_repairs(survey: Survey, folder: Folder) -> None:
    """Imports the repairs first in ``base``, which every part of a project imports."""
    lines = [
        f"import repairs.{repair.name}  # {repair.what}\n"
        for repair in folder.repairs
        if repair.by_import
    ]
    path = "base/__init__.py"
    text = folder.texts.get(path)
    if text is None:
        text = survey.files[path].text if path in survey.files else ""
    if lines:
        rows = text.splitlines(keepends=True)
        at = first_line(ast.parse(text), rows)
        folder.texts[path] = "".join(rows[:at] + ["\n"] * (at > 0) + lines + rows[at:])
        folder.copied = [name for name in folder.copied if name != path]


def _is_templates(survey: Survey, path: str) -> bool:
    """Whether a file that is no Python is the template's own, and nothing that stays reads it."""
    full = survey.folder / path
    if (path.startswith("logger/") and survey.staying("setup_logging")) or (
        path == "LICENSE" and survey.kept
    ):
        return False
    if full.is_symlink() or not 0 < full.stat().st_size < 100_000:
        return False
    return digest_of(full.read_bytes()) in table().texts


def _settings(survey: Survey, folder: Folder) -> None:
    """Our pyproject.toml, licence and .gitignore, beside or inside the project's."""
    ours = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if "pyproject.toml" in folder.copied:
        own = (survey.folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
        section = re.search(r"^\[tool\.plainloop\]\n(?:.+\n)+", ours, flags=re.M)
        folder.copied.remove("pyproject.toml")
        folder.texts["pyproject.toml"] = f"{own.rstrip()}\n\n{section[0] if section else ''}"
    else:
        folder.texts["pyproject.toml"] = ours
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    folder.texts["LICENSE-plainloop" if "LICENSE" in folder.copied else "LICENSE"] = licence
    if ".gitignore" not in folder.copied:
        folder.texts[".gitignore"] = (ROOT / ".gitignore").read_text(encoding="utf-8")
