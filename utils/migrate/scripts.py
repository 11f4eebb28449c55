"""Finds the programs of a project, how they are called, and which files they need."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from utils.migrate.configs import Config
from utils.migrate.fingerprints import TEMPLATE_FOLDERS
from utils.migrate.needed_repairs import walk_kept_code
from utils.migrate.project import PROGRAMS, File, Project

CONFIG_OPTIONS = {"-c", "--config", "--cfg", "--config_file", "--config-file", "--config_path"}
RESUME_OPTIONS = {"-r", "--resume", "--checkpoint", "--ckpt", "--resume_path", "--model_path"}
PLAINLOOPS_OPTIONS = {"config": "-c", "resume": "-r"}


@dataclass
class Script:
    """A program of the new project.

    Attributes:
        path: relative to the project.
        is_plainloops: whether it is Plainloop's train.py or test.py.
        purpose: ``train``, ``test`` or empty if it does neither.
        options: the option for the config and the one for a checkpoint, by ``config``, ``resume``.
        required: further arguments that it must get, with placeholders.
        needs_config: whether a checkpoint alone is too little.
        config_keys: sections that its code and the modules that it imports read from the config.
        ignores_checkpoint: whether it has an option for a checkpoint that no code loads.
    """

    path: str
    is_plainloops: bool
    purpose: str
    options: dict[str, str]
    required: list[str] = field(default_factory=list)
    needs_config: bool = False
    config_keys: set[str] = field(default_factory=set)
    ignores_checkpoint: bool = False


def find_scripts(project: Project) -> list[Script]:
    """Returns the programs, those named as the template's first."""
    scripts = [
        Script(path, True, path.removesuffix(".py"), PLAINLOOPS_OPTIONS)
        for path in PROGRAMS
        if project.has_plainloops_program(path)
    ]
    for file in project.kept_files:
        if file.path != "new_project.py" and is_script(file):
            script = _describe_script(project, file)
            if script.purpose or script.options or file.folder == "":
                scripts.append(script)
    order = {path: index for index, path in enumerate(PROGRAMS)}
    return sorted(
        scripts, key=lambda script: (order.get(script.path, 9), "/" in script.path, script.path)
    )


def find_notebooks(project: Project) -> list[str]:
    """Returns the notebooks that use the modules of the template."""
    found = []
    for path in project.other_files:
        if path.endswith(".ipynb"):
            text = (project.folder / path).read_text(encoding="utf-8", errors="replace")
            words = ("parse_config", "ConfigParser", "import model", "from model", "data_loader")
            found += [path] if any(word in text for word in words) else []
    return found


def is_script(file: File) -> bool:
    """Whether it has ``if __name__ == "__main__"``, or parses arguments at its top level.

    In a file of a loader or a model, such code only tries the file.
    """
    if file.folder in TEMPLATE_FOLDERS:
        return False
    for node in file.tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            return True
        is_call = isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call)
        if is_call and ".parse_args(" in ast.unparse(node):
            return True
    return file.is_program


def _describe_script(project: Project, file: File) -> Script:
    files = [file, *_list_imported_files(project, file)]
    arguments = [item for each in files for item in _find_arguments(each)]
    script = Script(file.path, False, _find_purpose(project, file), {})
    for flags, call in arguments:
        keywords = {key.arg: key.value for key in call.keywords}
        flag = next((item for item in flags if item.startswith("-")), "")
        is_required = "required" in keywords and ast.unparse(keywords["required"]) == "True"
        is_optional = "nargs" in keywords and ast.unparse(keywords["nargs"]) in ("'?'", "'*'")
        if CONFIG_OPTIONS & set(flags):
            script.options.setdefault("config", flag)
            script.needs_config = script.needs_config or is_required
        elif RESUME_OPTIONS & set(flags):
            script.options.setdefault("resume", flag)
        elif flag and is_required:
            script.required.append(f"{flag} {flag.lstrip('-').upper()}")
        elif not flag and not is_optional:
            script.required.append(flags[0].upper())
    if any(_reads_config_always(each) for each in files):
        script.needs_config = True
    reached, _ = list_reached(project, file)
    script.config_keys = {key for each in reached for key in _list_config_keys(each)}
    if "resume" in script.options and not _loads_checkpoint(project, file, reached):
        script.ignores_checkpoint = True
        del script.options["resume"]
    return script


def _list_config_keys(file: File) -> Iterator[str]:
    """Yields the names in ``config["name"]`` and ``self.config["name"]``."""
    for node in walk_kept_code(file):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
            continue
        if ast.unparse(node.value) in ("config", "self.config"):
            yield str(node.slice.value)


def _loads_checkpoint(project: Project, file: File, reached: list[File]) -> bool:
    """Whether any code uses the checkpoint that the template's parser gets.

    A trainer of the template's kind does so by ``_resume_checkpoint``, which a project may have
    deleted. True if the program does not use the template's parser.
    """
    kept = [item for item in file.definitions if not item.is_replaced]
    names = {name for item in kept for name in item.uses.names}
    if "ConfigParser" not in names:
        return True
    trainers = project.list_children("BaseTrainer") | {"BaseTrainer"}
    methods = {
        part.name
        for item in project.definitions
        if item.name in trainers and isinstance(item.node, ast.ClassDef)
        for part in item.node.body
        if isinstance(part, ast.FunctionDef)
    }
    for item in (item for each in reached for item in each.definitions):
        is_reader = any("resume" in name for name in item.uses.attributes)
        if not is_reader or item.name == "ConfigParser":
            continue
        calls_method = "_resume_checkpoint" in item.uses.self_attributes
        if item.name not in trainers:
            return True
        if names & trainers and (not calls_method or "_resume_checkpoint" in methods):
            return True
    return False


def _find_arguments(file: File) -> Iterator[tuple[list[str], ast.Call]]:
    """Yields the names and the call of each ``add_argument``."""
    for node in walk_kept_code(file):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            flags = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.attr == "add_argument" and flags:
                yield flags, node


def _find_purpose(project: Project, file: File) -> str:
    """Returns ``train`` if it starts a trainer, ``test`` if it only loads weights."""
    trainers = project.list_children("BaseTrainer") | {"BaseTrainer"}
    used, attributes = set(), set()
    for node in walk_kept_code(file):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            attributes.add(node.attr)
            used.add(node.attr)
    if used & trainers and "train" in attributes:
        return "train"
    name = file.path.rpartition("/")[2]
    if {"load_state_dict", "resume"} & attributes and "backward" not in attributes:
        return "test"
    return next((word for word in ("train", "test") if name.startswith(word)), "")


def _reads_config_always(file: File) -> bool:
    """Whether it opens ``args.config`` in any case, so that ``-r`` alone is too little."""
    conditional: set[int] = set()
    for node in walk_kept_code(file):
        if isinstance(node, ast.If | ast.IfExp):
            conditional |= {id(part) for part in ast.walk(node) if part is not node}
    # The program itself stands in a condition on its name.
    for node in file.tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            inner = [part for part in ast.walk(node) if isinstance(part, ast.If | ast.IfExp)]
            nested = {id(p) for item in inner if item is not node for p in ast.walk(item)}
            conditional -= {id(part) for part in ast.walk(node)} - nested
    for node in walk_kept_code(file):
        if not isinstance(node, ast.Call) or id(node) in conditional:
            continue
        function = ast.unparse(node.func).rpartition(".")[2]
        texts = [ast.unparse(argument) for argument in node.args]
        if function in ("Path", "open", "read_json") and "args.config" in texts:
            return True
    return False


def list_needed_files(project: Project, scripts: list[Script], configs: list[Config]) -> list[File]:
    """Returns the kept files that the programs import, directly or not.

    Plainloop's programs import what the configs name.
    """
    roots = [project.files[item.path] for item in scripts if item.path in project.files]
    if any(script.is_plainloops for script in scripts):
        names = {name for config in configs for name in _list_texts(config.values)}
        folders = ("data_loader", "model", "trainer")
        roots += [
            file
            for file in project.files.values()
            if file.folder in folders
            and (names & {item.name for item in file.definitions} or file.folder == "trainer")
        ]
    files, _ = list_reached(project, *roots)
    return [file for file in files if not file.is_replaced]


def list_reached(project: Project, *roots: File) -> tuple[list[File], set[str]]:
    """Returns the project's files that some files import, directly or not, and all such modules.

    The files themselves are returned, too. The modules include the packages around them.
    """
    waiting = list(roots)
    found: dict[str, File] = {}
    modules: set[str] = set()
    while waiting:
        file = waiting.pop()
        if file.path not in found:
            found[file.path] = file
            modules |= _list_imported_modules(file)
            waiting += _list_imported_files(project, file)
    return list(found.values()), modules


def _list_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value.rpartition(".")[2]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _list_texts(item)


def _list_imported_files(project: Project, file: File) -> list[File]:
    """Returns the files that a file imports, and the packages around them."""
    names = _list_imported_modules(file)
    return [other for other in project.files.values() if other.module in names]


def _list_imported_modules(file: File) -> set[str]:
    """Returns the full names of what a file imports, and the packages around them."""
    modules: set[str] = set()
    package = file.module if file.path.endswith("__init__.py") else file.module.rpartition(".")[0]
    for node in walk_kept_code(file):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                segments = package.split(".") if package else []
                segments = segments[: len(segments) - node.level + 1]
                base = ".".join([*segments, *([base] if base else [])])
            modules |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {
        ".".join(module.split(".")[:end])
        for module in modules
        for end in range(1, module.count(".") + 2)
    }
