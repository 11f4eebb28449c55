"""Composes the new project: the texts of the files to write, and the files to copy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from utils.migrate.fingerprints import compute_digest, load_table
from utils.migrate.libraries import list_unused_imports
from utils.migrate.needed_repairs import FrameCall, Repair, find_frame_calls, find_repairs
from utils.migrate.plainloop import ROOT, find_modules
from utils.migrate.project import FRAMEWORK_FOLDERS, File, Project
from utils.migrate.scripts import is_script, list_reached
from utils.project.taken import (
    PACKAGES,
    Taken,
    activate_repairs,
    count_head_lines,
    get_new_name,
    read_taken,
)

PREFIX = "plainloop_"  # of Plainloop's files where the project has files of the same name
MAX_TEXT_BYTES = 100_000  # the template's own files are smaller


@dataclass
class NewProject:
    """The files of a new project.

    Attributes:
        texts: files with their content, by path.
        copied: paths of files that are copied from the old project.
        linked: paths of folders to which the new project gets links.
        renamed_modules: Plainloop's modules and packages that have another name in this project.
        repairs: the files in ``repairs/``.
        dropped: the template's files that are not Python and are left out.
        taken: what comes from Plainloop.
    """

    texts: dict[str, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    renamed_modules: dict[str, str] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    taken: Taken = field(default_factory=Taken)


def compose(project: Project) -> NewProject:
    """Combines the kept files of a project with Plainloop's files."""
    new = NewProject(renamed_modules=_find_renamed_modules(project), repairs=find_repairs(project))
    new.taken = _choose(project, new)
    new.texts = read_taken(ROOT, new.taken)
    for file in project.kept_files:
        text = _adapt_file(project, file, new.renamed_modules)
        text = activate_repairs(text, new.taken.activated.get(file.path, {}))
        if text == file.text:
            new.copied.append(file.path)
        else:
            new.texts[file.path] = text
    for path in project.other_files:
        (new.dropped if _is_template_file(project, path) else new.copied).append(path)
    _add_settings(project, new)
    return new


def _choose(project: Project, new: NewProject) -> Taken:
    """Chooses what the project takes from Plainloop."""
    replaced = {path for path, file in project.files.items() if file.is_replaced}
    outside = sorted(replaced | {*project.failures})
    left_out = [file.path for file in project.kept_files]
    if "parse_config.py" in project.files and "parse_config.py" not in replaced:
        left_out.append("parse_config.py")
    return Taken(
        renamed=new.renamed_modules,
        files=[path for path in outside if path.split("/")[0] not in PACKAGES],
        left_out=sorted({*left_out}),
        repairs=[item.name for item in new.repairs],
        activated=_list_activations(project, new.repairs),
    )


def _list_activations(project: Project, repairs: list[Repair]) -> dict[str, dict[str, str]]:
    """Maps each file that imports repairs to their names and purposes.

    Most programs import ``base`` or ``utils``. The others import their repairs themselves.
    """
    activated: dict[str, dict[str, str]] = {}
    for repair in repairs:
        if repair.activated_in:
            repair.programs = _find_programs_outside(project, repair)
            for path in (f"{repair.activated_in}/__init__.py", *repair.programs):
                activated.setdefault(path, {})[repair.name] = repair.purpose
    return activated


def _find_programs_outside(project: Project, repair: Repair) -> list[str]:
    """Returns the programs at the top that need a repair and do not import its package."""
    needy = {line.rpartition(":")[0] for line in repair.lines}
    found = []
    for file in project.kept_files:
        if file.folder == "" and is_script(file):
            files, modules = list_reached(project, file)
            if needy & {item.path for item in files} and repair.activated_in not in modules:
                found.append(file.path)
    return found


def _find_renamed_modules(project: Project) -> dict[str, str]:
    """Maps Plainloop's modules to new names where the project has a module of the same name."""
    paths = {path for path in (*project.files, *project.other_files) if path.endswith(".py")}
    renamed = {}
    for package in PACKAGES:
        is_file = f"{package}.py" in paths
        is_project_config = package == "config" and any(
            path.startswith("config/") for path in paths
        )
        if is_file or is_project_config:
            renamed[package] = PREFIX + package
    for file in project.kept_files:
        path = file.module.replace(".", "/")
        is_package = file.path.endswith("/__init__.py")
        # A package hides a module of the same name, whichever of the two is Plainloop's.
        collides = (ROOT / f"{path}.py").is_file() or (not is_package and (ROOT / path).is_dir())
        if file.folder in FRAMEWORK_FOLDERS and collides:
            package, _, name = file.module.rpartition(".")
            renamed[file.module] = f"{package}.{PREFIX}{name}"
    return renamed


def _adapt_file(project: Project, file: File, renamed_modules: dict[str, str]) -> str:
    """Returns the text of a kept file.

    Replaced definitions become imports from Plainloop, and DataFrames that must be writable become
    LiveFrames. Imports of libraries that only replaced definitions used are left out.
    """
    replaced = [item for item in file.definitions if item.is_replaced and item.name]
    calls = find_frame_calls(file)
    unused_imports = list_unused_imports(project, file)
    if not replaced and not calls and not unused_imports:
        return file.text
    lines = file.text.splitlines(keepends=True) if "\f" not in file.text else file.text.split("\n")
    for call in sorted(calls, reverse=True):
        lines[call.line - 1] = _replace_frame(lines[call.line - 1], call)
    for item in replaced:
        for number in range(item.start_line, (item.node.end_lineno or item.start_line) + 1):
            lines[number - 1] = ""
    for node in unused_imports:
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            lines[number - 1] = ""
    names_by_module: dict[str, list[str]] = {}
    for item in replaced:
        if item.name in find_modules():
            module = get_new_name(find_modules()[item.name], renamed_modules)
            names_by_module.setdefault(module, []).append(item.name)
    imports = [
        f"from {module} import {', '.join(sorted(names))}\n"
        for module, names in sorted(names_by_module.items())
    ]
    if calls:
        imports.append("from repairs.live_frame import LiveFrame\n")
    start = count_head_lines(file.tree, lines)
    return "".join(lines[:start] + imports + lines[start:])


def _replace_frame(line: str, call: FrameCall) -> str:
    """Writes LiveFrame for the called DataFrame. Columns count bytes."""
    content = line.encode()
    end = call.column + call.length
    return (content[: call.column] + b"LiveFrame" + content[end:]).decode()


def _is_template_file(project: Project, path: str) -> bool:
    """Whether a file that is not Python is the template's, and no kept code reads it."""
    is_read = path.startswith("logger/") and project.find_kept("setup_logging") is not None
    is_licence = path == "LICENSE" and bool(project.kept_files)
    full_path = project.folder / path
    if is_read or is_licence or full_path.is_symlink():
        return False
    if not 0 < full_path.stat().st_size < MAX_TEXT_BYTES:
        return False
    return compute_digest(full_path.read_bytes()) in load_table().texts


def _add_settings(project: Project, new: NewProject) -> None:
    """Adds Plainloop's pyproject.toml, licence and .gitignore beside or inside the project's."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if "pyproject.toml" in new.copied:
        path = project.folder / "pyproject.toml"
        text = path.read_text(encoding="utf-8", errors="replace").rstrip()
        section = re.search(r"^\[tool\.plainloop\]\n(?:.+\n)+", settings, flags=re.M)
        settings = f"{text}\n\n{section[0] if section else ''}"
        new.copied.remove("pyproject.toml")
    else:
        new.taken.files.append("pyproject.toml")
    new.texts["pyproject.toml"] = settings
    licence = "LICENSE-plainloop" if "LICENSE" in new.copied else "LICENSE"
    new.texts[licence] = (ROOT / "LICENSE").read_text(encoding="utf-8")
    if licence == "LICENSE":
        new.taken.files.append(licence)
    if ".gitignore" not in new.copied:
        new.taken.files.append(".gitignore")
        new.texts[".gitignore"] = (ROOT / ".gitignore").read_text(encoding="utf-8")
