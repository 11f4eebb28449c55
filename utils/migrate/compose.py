"""Composes the new project: the texts of the files to write, and the files to copy."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from utils.migrate.fingerprints import compute_digest, load_table
from utils.migrate.libraries import list_unused_imports
from utils.migrate.needed_repairs import FrameCall, Repair, find_frame_calls, find_repairs
from utils.migrate.plainloop import PACKAGES, ROOT, find_modules, read_repair
from utils.migrate.project import FRAMEWORK_FOLDERS, File, Project

PREFIX = "plainloop_"  # of Plainloop's files where the project has files of the same name
MAX_TEXT_BYTES = 100_000  # the template's own files are smaller
PARSE_CONFIG = '''"""ConfigParser, in the module where pytorch-template has it."""

from {package} import ConfigParser  # noqa: F401
'''
REPAIRS_DOCSTRING = '"""Keeps the project working as it did before; see MIGRATION.md."""\n'


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
    """

    texts: dict[str, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    renamed_modules: dict[str, str] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def compose(project: Project) -> NewProject:
    """Combines the kept files of a project with Plainloop's files."""
    new = NewProject(renamed_modules=_find_renamed_modules(project), repairs=find_repairs(project))
    kept_paths = {file.path for file in project.kept_files}
    plainloop_texts = _read_plainloop_files(project, new.renamed_modules)
    new.texts = {path: text for path, text in plainloop_texts.items() if path not in kept_paths}
    new.texts |= _write_repairs(new)
    for file in project.kept_files:
        text = _adapt_file(project, file, new.renamed_modules)
        if text == file.text:
            new.copied.append(file.path)
        else:
            new.texts[file.path] = text
    _activate_repairs(project, new)
    for path in project.other_files:
        (new.dropped if _is_template_file(project, path) else new.copied).append(path)
    _add_settings(project, new)
    return new


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


def get_new_name(module: str, renamed_modules: dict[str, str]) -> str:
    """Returns the name of one of Plainloop's modules in the new project."""
    names = module.split(".")
    for end in range(len(names), 0, -1):  # a module first, then the packages around it
        prefix = ".".join(names[:end])
        if prefix in renamed_modules:
            names[:end] = renamed_modules[prefix].split(".")
    return ".".join(names)


def _read_plainloop_files(project: Project, renamed_modules: dict[str, str]) -> dict[str, str]:
    """Reads Plainloop's files: all of its packages, and what replaces the project's files."""
    replaced = {path for path, file in project.files.items() if file.is_replaced}
    paths = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted(ROOT.glob(f"{package}/**/*.py"))
        if not path.is_relative_to(ROOT / "utils" / "migrate")
    ]
    paths += [
        path
        for path in sorted(replaced | {*project.failures})
        if path.split("/")[0] not in PACKAGES and (ROOT / path).is_file()
    ]
    texts = {}
    for path in paths:
        module = path.removesuffix(".py").replace("/", ".")
        new_path = get_new_name(module, renamed_modules).replace(".", "/") + ".py"
        text = (ROOT / path).read_text(encoding="utf-8")
        texts[new_path] = _rename_imports(text, renamed_modules)
    if "parse_config.py" not in project.files or "parse_config.py" in replaced:
        package = renamed_modules.get("config", "config")
        texts["parse_config.py"] = PARSE_CONFIG.format(package=package)
    return texts


def _rename_imports(text: str, renamed_modules: dict[str, str]) -> str:
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
    start = _count_head_lines(file.tree, lines)
    return "".join(lines[:start] + imports + lines[start:])


def _replace_frame(line: str, call: FrameCall) -> str:
    """Writes LiveFrame for the called DataFrame. Columns count bytes."""
    content = line.encode()
    end = call.column + call.length
    return (content[: call.column] + b"LiveFrame" + content[end:]).decode()


def _count_head_lines(tree: ast.Module, lines: list[str]) -> int:
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


def _write_repairs(new: NewProject) -> dict[str, str]:
    """Returns the files of the package ``repairs``."""
    if not new.repairs:
        return {}
    texts = {"repairs/__init__.py": REPAIRS_DOCSTRING}
    for repair in new.repairs:
        path = f"repairs/{repair.name}.py"
        texts[path] = _rename_imports(read_repair(repair.name), new.renamed_modules)
    return texts


def _activate_repairs(project: Project, new: NewProject) -> None:
    """Imports the repairs at the start of the packages that need them.

    Every part of a project imports ``base`` or ``utils``.
    """
    for package in ("base", "utils"):
        imports = [
            f"import repairs.{repair.name}  # {repair.purpose}\n"
            for repair in new.repairs
            if repair.activated_in == package
        ]
        if imports:
            _add_imports(project, new, f"{package}/__init__.py", imports)


def _add_imports(project: Project, new: NewProject, path: str, imports: list[str]) -> None:
    text = new.texts.get(path)
    if text is None:
        text = project.files[path].text if path in project.files else ""
    lines = text.splitlines(keepends=True)
    start = _count_head_lines(ast.parse(text), lines)
    if start > 0:
        imports = ["\n", *imports]
    new.texts[path] = "".join(lines[:start] + imports + lines[start:])
    new.copied = [name for name in new.copied if name != path]


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
    new.texts["pyproject.toml"] = settings
    licence = "LICENSE-plainloop" if "LICENSE" in new.copied else "LICENSE"
    new.texts[licence] = (ROOT / "LICENSE").read_text(encoding="utf-8")
    if ".gitignore" not in new.copied:
        new.texts[".gitignore"] = (ROOT / ".gitignore").read_text(encoding="utf-8")
