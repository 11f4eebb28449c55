"""The commands of the new project, for its report."""

from __future__ import annotations

import ast

from utils.migrate.compose import NewProject
from utils.migrate.configs import Config
from utils.migrate.libraries import find_other_libraries, list_dependencies
from utils.migrate.project import Project
from utils.migrate.run_files import find_checkpoint_names, find_run_folder, get_root
from utils.migrate.scripts import Script, find_notebooks, find_scripts, list_needed_files

TEMPLATE_TEST_BATCH_SIZE = 512
PYTHON = ".venv/bin/python"
NOT_COPIED = ("saved", ".git")
OLD_RUN = "To resume or test an old checkpoint, give its path in the old folder."
UPGRADE = (
    "`python -m utils.upgrade` brings later versions of Plainloop into this folder; before it, run "
    "`git init`, `git add .` and `git commit`."
)
PLAINLOOPS_FOLDER = (
    "A resumed run writes to the folder of its checkpoint, so an old run continues in the old "
    "folder; with `--run-id NAME` it writes to a new folder here."
)
IGNORED_CHECKPOINT = "No code of the project loads the checkpoint that `-r` of {programs} names."


def make_commands(
    project: Project, new: NewProject, configs: list[Config], target: str
) -> list[str]:
    """Returns the lines of the section: how to install, train, resume and test."""
    scripts = find_scripts(project)
    rows = [f"cd {target}", f"python3 -m venv .venv && {_make_install(project, new)}"]
    libraries = find_other_libraries(project, list_needed_files(project, scripts, configs))
    if libraries:
        rows.append(f".venv/bin/pip install {' '.join(libraries)}  # the programs import them too")
    for script in scripts:
        rows += _make_rows(project, configs, script, _choose_config(configs, script))
    left_out = [f"`{name}/`" for name in NOT_COPIED if (project.folder / name).is_dir()]
    notes = [f"{' and '.join(left_out)} {'are' if left_out[1:] else 'is'} not copied."]
    notes = notes if left_out else []
    if any("resume" in script.options for script in scripts):
        notes.append(OLD_RUN)
        notes.append(_describe_resumed_folder(project, configs, scripts))
    without = [script.path for script in scripts if script.ignores_checkpoint]
    if without:
        notes.append(IGNORED_CHECKPOINT.format(programs=" and ".join(without)))
    lines = ["```sh", *rows, "```\n", f"{' '.join([*filter(None, notes), UPGRADE])}\n"]
    notebooks = find_notebooks(project)
    if notebooks:
        lines.append(f"Notebooks that use the project's modules: {', '.join(notebooks)}\n")
    return lines


def _choose_config(configs: list[Config], script: Script) -> str:
    """Returns the path of the config that has most of what the program reads from it."""
    keys = script.config_keys

    def rate(config: Config) -> tuple[int, int]:
        return len(keys - config.values.keys()), len(config.path)

    best = min(configs, key=rate, default=None)
    return best.path if best is not None else "CONFIG"


def _make_install(project: Project, new: NewProject) -> str:
    """Plainloop's pyproject.toml lists its libraries; one of the project's own does not."""
    if (project.folder / "pyproject.toml").is_file():
        return f".venv/bin/pip install {' '.join(list_dependencies())}"
    return ".venv/bin/pip install ."


def _make_rows(project: Project, configs: list[Config], script: Script, config: str) -> list[str]:
    """Returns the commands of a program: with a config, and with a checkpoint."""
    start = " ".join([f"{PYTHON} {script.path}", *script.required])
    with_config = start
    if "config" in script.options:
        with_config += f" {script.options['config']} {config}"
    rows = [] if script.purpose == "test" and "resume" in script.options else [with_config]
    if "resume" in script.options:
        checkpoint = _get_checkpoint(project, configs, script)
        begin = with_config if script.needs_config else start
        size = ""
        if script.path == "test.py" and script.is_plainloops:
            size = f" data_loader.args.batch_size={TEMPLATE_TEST_BATCH_SIZE}"
        rows.append(f"{begin} {script.options['resume']} {checkpoint}{size}")
    if script.path == "train.py" and script.is_plainloops:
        rows.append(f"{with_config} --check   # tries all parts on a batch")
    return rows


def _get_checkpoint(project: Project, configs: list[Config], script: Script) -> str:
    """Returns a path as the program takes it. Plainloop's takes a run folder too."""
    is_kept_trainer = project.find_kept("BaseTrainer") is not None
    is_kept_parser = project.find_kept("ConfigParser") is not None
    epoch, best = find_checkpoint_names(project)
    folder = f"{get_root(configs)}/NAME/RUN_ID"
    if is_kept_trainer or is_kept_parser or epoch:
        folder = find_run_folder(project, configs)
    elif script.is_plainloops or (script.purpose == "train" and not script.needs_config):
        return folder
    if not is_kept_trainer and not epoch:
        epoch, best = "checkpoint-epochN.pt", "model_best.pt"
    name = best if script.purpose == "test" and not script.is_plainloops and best else epoch
    return f"{folder}/{name or best or 'CHECKPOINT'}"


def _describe_resumed_folder(project: Project, configs: list[Config], scripts: list[Script]) -> str:
    """Says where a resumed run writes, if that is known."""
    parser = project.find_kept("ConfigParser")
    if parser is not None:
        folders = [
            node
            for node in ast.walk(parser.node)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and node.attr == "_save_dir"
        ]
        if len(folders) != 1 or "RUN_ID" not in find_run_folder(project, configs):
            return ""  # some code of the project decides
        return describe_projects_folder(get_root(configs))
    has_plainloops = any(script.is_plainloops for script in scripts)
    uses_plainloops = has_plainloops or project.is_replaced("ConfigParser")
    return PLAINLOOPS_FOLDER if uses_plainloops else ""


def describe_projects_folder(root: str) -> str:
    """Says where a resumed run writes. A root may be an absolute path, outside the new folder."""
    here = "" if root.startswith(("/", "~")) else " here"
    return f"A resumed run writes to a new folder in `{root}/`{here}."
