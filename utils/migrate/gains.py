"""What a project gains from Plainloop, and what it could still gain."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from utils.migrate.compose import NewProject
from utils.migrate.decide import find_uses
from utils.migrate.members import list_added_parameters
from utils.migrate.needed_repairs import walk_kept_code
from utils.migrate.plainloop import LOSS_WEIGHT, find_modules
from utils.migrate.project import Definition, Origin, Project
from utils.project.taken import get_new_name

EXACT_RESUME = "exact resume"
# What Plainloop's class, function or program offers beyond the template's.
BENEFITS = {
    "BaseTrainer": f"{EXACT_RESUME}, checkpoints that survive a kill and a full disk, a checkpoint "
    "on Ctrl-C",
    "Trainer": "mixed precision, accumulation, clipping, EMA and warm-up from the config",
    "ConfigParser": "a check of the config before the run, KEY=VALUE on the command line, "
    "`extends`",
    "BaseDataLoader": "the same batches with any number of workers, resume within an epoch, "
    "stratified splits",
    "MetricTracker": "means without pandas, and no waiting for the device at each step",
    "TensorboardWriter": "writing in the background; a failure does not end the training",
    "setup_logging": "console output that does not break the progress bar",
    "prepare_device": "accelerators from other makers than NVIDIA",
    "inf_loop": "an error instead of an endless loop when there is no data",
    "train.py": "`--check`, and mistakes in a config reported before the run",
    "test.py": "tests without a new run folder, results as JSON",
}
REPLACED_WITH = {"BaseTrainer": "ConfigParser", "ConfigParser": "BaseTrainer"}
SEVERAL_GPUS = "several GPUs, one process for each (`-d 0,1`, or `parallel` in the config)"


def list_gains(project: Project) -> list[str]:
    """Returns what the new project has already.

    BaseDataLoader is left out, since the repair ``template_order`` replaces it.
    """
    benefits = dict(BENEFITS)
    lost = list(find_lost_positions(project))
    if lost:
        others = benefits["BaseTrainer"].removeprefix(f"{EXACT_RESUME}, ")
        benefits["BaseTrainer"] = f"{others}. Resuming is not exact, because {'; '.join(lost)}"
    return [
        f"from Plainloop's {name}: {benefit}"
        for name, benefit in benefits.items()
        if name != "BaseDataLoader" and project.is_replaced(name)
    ]


def find_lost_positions(project: Project) -> Iterator[str]:
    """Yields where kept classes hold an iterator whose position no checkpoint has, and why.

    Plainloop's ``inf_loop`` has its position in checkpoints. A changed one is a generator.
    """
    functions = {"iter", "cycle"}
    if not project.is_from_plainloop("inf_loop"):
        functions.add("inf_loop")
    for file in project.kept_files:
        for node in walk_kept_code(file):
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
                continue
            function = ast.unparse(node.value.func).rpartition(".")[2]
            target = ast.unparse(node.targets[0])
            if function in functions and target.startswith("self."):
                yield (
                    f"{file.path}:{node.lineno} keeps `{target}`, whose position in the data no "
                    "checkpoint has (`inf_loop` of Plainloop's utils/util.py keeps its position)"
                )


def list_possible_gains(project: Project, new: NewProject) -> list[str]:
    """Returns what the owner gains by replacing more of the project, and how."""
    rows = []
    for name, benefit in BENEFITS.items():
        kept = project.find_kept(name)
        if kept is None or not _can_give_way(project, name):
            continue
        if kept.file.is_program:
            rows.append(
                f"{benefit}: use Plainloop's {name} instead of yours, and name the parts that "
                "yours makes in the config"
            )
        elif name in find_modules() and kept.file.folder != "trainer":
            rows.append(f"{benefit}: {_describe_replacement(name, kept, new)}")
    trainer = project.find_kept("Trainer")
    if trainer is not None and trainer.origin is Origin.CHANGED:
        benefit = "mixed precision, accumulation, clipping, EMA (if your Trainer derives from "
        rows += [f"{benefit}Plainloop's): {change}" for change in _list_loop_changes(project)]
    return [*rows, _describe_several_gpus(project, new)]


def _can_give_way(project: Project, name: str) -> bool:
    """Whether nothing of what the kept definition adds to Plainloop's is used.

    What must give way with it is checked, too.
    """
    kept = project.find_kept(name)
    if kept is None or kept.file.is_program:
        return True
    other = project.find_kept(REPLACED_WITH.get(name, ""))
    candidates = [kept] if other is None else [kept, other]
    remaining = [
        item for item in project.definitions if not item.is_replaced and item not in candidates
    ]
    return all(
        item.is_current
        and not list_added_parameters(item)
        and next(find_uses(item, remaining), "") == ""
        for item in candidates
    )


def _describe_replacement(name: str, kept: Definition, new: NewProject) -> str:
    module = get_new_name(find_modules()[name], new.renamed_modules)
    other = REPLACED_WITH.get(name)
    suffix = f", together with {other}" if other else ""
    return (
        f"replace your {name} at {kept.file.path}:{kept.start_line} by "
        f"`from {module} import {name}`{suffix}"
    )


def _list_loop_changes(project: Project) -> Iterator[str]:
    """Yields the lines of kept training loops that ``self.update`` can replace, and how."""
    for file in project.kept_files:
        for node in walk_kept_code(file):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            code = ast.unparse(node)
            start = f"{file.path}:{node.lineno}: `{code}` -> `self.update."
            if node.func.attr == "backward" and "loss" in code:
                yield f"{start}backward({ast.unparse(node.func.value)})`"
            elif code.endswith("optimizer.step()"):
                yield f"{start}step()`"


def _describe_several_gpus(project: Project, new: NewProject) -> str:
    """Returns what the owner must do before each GPU can have a process."""
    trainer = project.find_kept("BaseTrainer")
    if trainer is not None and trainer.needs_data_parallel:
        return (
            f"{SEVERAL_GPUS}, instead of DataParallel: write `n_gpu: 1` in each config that asks "
            "for several GPUs, and migrate the project again"
        )
    steps = []
    if not project.find_all("train.py") or not project.is_from_plainloop("train.py"):
        steps.append("use Plainloop's train.py")
    if not project.is_from_plainloop("BaseDataLoader"):
        steps.append("use Plainloop's BaseDataLoader, which divides each batch among the processes")
    if any(repair.name == "template_order" for repair in new.repairs):
        steps.append(
            "delete repairs/template_order.py and its line in base/__init__.py, since it cannot "
            "divide a batch"
        )
    if not project.is_replaced("Trainer"):
        steps.append(
            f"call `self.update.backward(loss, {LOSS_WEIGHT})`, which weights each process's part "
            "of a batch by its size"
        )
    return f"{SEVERAL_GPUS}: {'; '.join(steps)}"
