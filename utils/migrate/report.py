"""Reports what happens to a project, as Markdown: for the console and for MIGRATION.md."""

from __future__ import annotations

from utils.migrate.commands import make_commands
from utils.migrate.compose import NewProject
from utils.migrate.configs import Config
from utils.migrate.gains import BENEFITS, list_gains, list_possible_gains
from utils.migrate.large_folders import describe_large_folders
from utils.migrate.project import Definition, File, Origin, Project

MAX_SHOWN_LINES = 3  # of the code that needs a repair

# What Plainloop's class or program does differently.
CHANGES = {
    "ConfigParser": "runs are in saved/NAME/RUN_ID, not in saved/models/NAME and saved/log/NAME; a "
    "resumed run continues in its folder",
    "BaseTrainer": "checkpoints are .pt files; the best model is saved whatever `save_period` "
    "says; resuming restores the random number generators",
    "Trainer": "a loss that is not finite ends the run (`trainer.nan_policy`); TensorBoard gets no "
    "images; OneCycleLR and CyclicLR step after each batch (write "
    "`trainer.lr_scheduler_interval: epoch` to step after each epoch, as before)",
    "test.py": "batches have the size that the config says (the template's test.py took 512)",
}


def make_report(
    project: Project, new: NewProject, configs: list[Config], problems: list[str], target: str
) -> str:
    """Returns the report.

    Args:
        project: what was read and decided.
        new: the project to write.
        configs: of the project.
        problems: what needs the owner's attention.
        target: the new folder, for the commands.
    """
    replaced = [row for file in project.files.values() for row in _list_replaced(file)]
    kept = [row for file in project.kept_files for row in _list_kept(file)]
    changes = [f"{name}: {text}" for name, text in CHANGES.items() if _is_changed(project, name)]
    repairs = [
        f"repairs/{repair.name}.py: {repair.purpose} ({_shorten(repair.lines)}). {repair.removal}"
        for repair in new.repairs
    ]
    large = describe_large_folders(project, new)
    sections = [
        f"# {project.folder.resolve().name}, moved to Plainloop\n",
        f"Recognized as a pytorch-template project by {', '.join(project.recognized_by)}.\n",
        _make_list("Needs your attention", problems),
        "\n".join(["## Commands\n", *make_commands(project, new, configs, target)]),
        *([_make_list("Large folders", large)] if large else []),
        _make_list("Replaced by Plainloop: code of the template", [*replaced, *new.dropped]),
        _make_list("What changes with Plainloop's code", changes),
        _make_list("Kept: your code, and what it needs", kept),
        _make_list("Repairs: they keep your code working and its results the same", repairs),
        _make_list("What you gain", list_gains(project), empty="Support for current libraries."),
        _make_list("What you could also gain", list_possible_gains(project, new)),
    ]
    return "\n".join(sections)


def _is_changed(project: Project, name: str) -> bool:
    """Whether the project had one of its own, which Plainloop's stands in for."""
    if name.endswith(".py"):
        return name in project.files and project.has_plainloops_program(name)
    return project.is_replaced(name)


def _make_list(title: str, rows: list[str], empty: str = "Nothing.") -> str:
    content = [f"- {row}" for row in rows] if rows else [empty]
    return "\n".join([f"## {title}\n", *content, ""])


def _shorten(lines: list[str]) -> str:
    shown = ", ".join(lines[:MAX_SHOWN_LINES])
    hidden_count = len(lines) - MAX_SHOWN_LINES
    return f"{shown} and {hidden_count} more" if hidden_count > 0 else shown


def _list_replaced(file: File) -> list[str]:
    """Returns a row if anything of a file at a path of the template's is replaced."""
    names = [item.name for item in file.definitions if item.name and item.is_replaced]
    if not file.is_template_path or not (names or file.is_replaced):
        return []
    return [_make_row(file, names)]


def _list_kept(file: File) -> list[str]:
    """Returns a row for a file at a path of the template's that is kept."""
    if not file.is_template_path:
        return []
    kept = [item for item in file.definitions if item.name and not item.is_replaced]
    return [_make_row(file, [_describe_kept(item) for item in kept])]


def _make_row(file: File, texts: list[str]) -> str:
    return f"{file.path}: {'; '.join(texts)}" if texts else file.path


def _describe_kept(item: Definition) -> str:
    text = f"{item.name} (line {item.start_line})"
    if item.origin is Origin.UNCHANGED:
        return f"{text} unchanged, kept because {item.reason}"
    if item.origin is Origin.CHANGED and item.name in BENEFITS:
        return f"{text} changed, lacks {BENEFITS[item.name]}"
    return f"{text} {item.origin}"
