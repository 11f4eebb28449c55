"""The commands of the new project, for its report."""

from __future__ import annotations

from utils.migrate.configs import Config
from utils.migrate.problems import find_other_libraries
from utils.migrate.project import Project

TEMPLATE_TEST_BATCH_SIZE = 512
NOTE = (
    "`saved/` and `.git` are not copied. To resume or test an old checkpoint, give its path in the "
    "old folder. `python -m utils.upgrade` brings later versions of Plainloop into this folder; "
    "run `git init`, `git add .` and `git commit` first.\n"
)


def make_commands(project: Project, configs: list[Config], target: str) -> list[str]:
    """Returns the lines of the section: how to install, train, resume and test."""
    train, test = _find_train_script(project), _find_test_script(project)
    config = min((config.path for config in configs), key=len, default="config.json")
    libraries = find_other_libraries(project)
    rows = [f"cd {target}", "python3 -m venv .venv && .venv/bin/pip install ."]
    if libraries:
        rows.append(f"# the project also imports: {', '.join(libraries)}")
    rows += [
        f".venv/bin/python {train} -c {config}",
        f".venv/bin/python {train} -r {_get_checkpoint_to_resume(project)}",
    ]
    if test in project.files or project.is_from_plainloop("test.py"):
        size = ""
        if project.is_from_plainloop("test.py") and "test.py" in project.files:
            size = f" data_loader.args.batch_size={TEMPLATE_TEST_BATCH_SIZE}"
        rows.append(f".venv/bin/python {test} -r {_get_checkpoint_to_test(project)}{size}")
    if project.is_from_plainloop("train.py"):
        rows.append(f".venv/bin/python train.py -c {config} --check   # tries all parts on a batch")
    return ["```sh", *rows, "```\n", NOTE]


def _find_train_script(project: Project) -> str:
    scripts = _list_kept_scripts(project, "train")
    if project.is_from_plainloop("train.py") or "train.py" in scripts or not scripts:
        return "train.py"
    return scripts[0]


def _find_test_script(project: Project) -> str:
    scripts = _list_kept_scripts(project, "test")
    return "test.py" if "test.py" in project.files or not scripts else scripts[0]


def _list_kept_scripts(project: Project, word: str) -> list[str]:
    return [
        path
        for path, file in project.files.items()
        if "/" not in path and word in path and not file.is_replaced
    ]


def _get_checkpoint_to_resume(project: Project) -> str:
    """Returns a path as the program takes it. Plainloop's takes a run folder too."""
    if not project.is_from_plainloop("BaseTrainer"):
        return "saved/models/NAME/RUN_ID/checkpoint-epochN.pth"
    if project.is_from_plainloop("ConfigParser"):
        return "saved/NAME/RUN_ID"
    return "saved/NAME/RUN_ID/checkpoint-epochN.pt"


def _get_checkpoint_to_test(project: Project) -> str:
    if not project.is_from_plainloop("BaseTrainer"):
        name = "checkpoint-epochN" if project.is_from_plainloop("test.py") else "model_best"
        return f"saved/models/NAME/RUN_ID/{name}.pth"
    if project.is_from_plainloop("test.py"):
        return "saved/NAME/RUN_ID"
    return "saved/NAME/RUN_ID/model_best.pt"
