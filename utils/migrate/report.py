"""What became of a project, in words: for the console and for MIGRATION.md."""

from __future__ import annotations

from utils.migrate.compose import Folder, moved_to
from utils.migrate.configs import Config
from utils.migrate.decide import MANY
from utils.migrate.problems import needs, steps
from utils.migrate.project import Definition, File, Survey, our_names

# What a project lacks as long as it keeps its own.
MISSING = {
    "BaseTrainer": "exact resume, checkpoints that survive a kill and a full disk, Ctrl-C with a checkpoint",
    "Trainer": "mixed precision, accumulation, clipping, EMA and warm-up from the config",
    "ConfigParser": "the check of the config before a run, KEY=VALUE on the command line, `extends`",
    "BaseDataLoader": "the same batches with any number of workers, resume within an epoch, stratified splits",
    "BaseModel": "nothing that its name does not say",
    "MetricTracker": "means without pandas, and without waiting for the device at every step",
    "TensorboardWriter": "writing in the background, where a failure does not end the training",
    "setup_logging": "a console that goes well with the progress bar",
    "prepare_device": "other accelerators than NVIDIA's",
    "inf_loop": "an error where there is no data, in place of a hang",
    "train.py": "`--check`, and mistakes in a config told at once",
    "test.py": "testing without a new run folder, results as JSON",
}
WHERE_OURS = {
    "ConfigParser": "runs are in saved/NAME/RUN_ID, not saved/models/NAME and saved/log/NAME; resuming goes on there",
    "BaseTrainer": "checkpoints are .pt, the best is saved whatever `save_period`, resuming restores random numbers",
    "Trainer": "a loss that is not finite ends the run (`trainer.nan_policy`); TensorBoard gets no "
    "images; OneCycleLR and CyclicLR move each step (`trainer.lr_scheduler_interval: epoch` as before)",
    "test.py": "batches are the config's (the template's test.py took 512)",
}


def report(
    survey: Survey, folder: Folder, configs: list[Config], left: list[str], target: str
) -> str:
    """The whole report, as Markdown; ``left`` is what only a person can decide."""
    parts = [f"# {survey.folder.resolve().name}, moved to Plainloop\n"]
    parts.append(_list("Left for a person", left, "Nothing."))
    parts.append(_commands(survey, configs, target))
    replaced = [row for file in survey.files.values() for row in _file(file, gone=True)]
    parts.append(
        _list(
            "Replaced: the template's own, where ours stands now",
            [*replaced, *folder.dropped],
            "Nothing.",
        )
    )
    told = [f"{name}: {text}" for name, text in WHERE_OURS.items() if _ours(survey, name)]
    parts.append(_list("What is other where ours stands", told, "Nothing."))
    kept = [row for file in survey.kept for row in _file(file, gone=False)]
    parts.append(_list("Kept: yours", kept, "Nothing."))
    repairs = [
        f"repairs/{repair.name}.py: {repair.what} ({_some(repair.where)}). {repair.instead}"
        for repair in folder.repairs
    ]
    parts.append(_list("Repairs: what lets it run as it did", repairs, "None."))
    parts.append(_list("What it gains", _gains(survey), "Today's libraries."))
    parts.append(_list("What more it would gain", _more(survey, folder), "Nothing: all is ours."))
    return "\n".join(parts)


def _list(title: str, rows: list[str], empty: str) -> str:
    return "\n".join(
        [f"## {title}\n", *(f"- {row}" for row in rows), *([empty] if not rows else []), ""]
    )


def _some(rows: list[str]) -> str:
    return ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")


def _file(file: File, gone: bool) -> list[str]:
    """A line for a file of the template's, and what there is to say of its definitions that give way, or stay."""
    if not file.templates:
        return []
    items = [item for item in file.definitions if item.name and item.gives_way == gone]
    if file.gone == gone:
        names = [_item(item) for item in items]
        return [f"{file.path}{': ' * bool(names)}{'; '.join(names)}"]
    return [f"{file.path}: {'; '.join(_item(item) for item in items)}"] if items and gone else []


def _item(item: Definition) -> str:
    if item.gives_way:
        return item.name
    what = {"own": f"the template's own, stays {item.why}", "changed": "changed", "added": "added"}[
        item.kind
    ]
    missing = MISSING.get(item.name, "") if item.kind == "changed" else ""
    return f"{item.name} (line {item.start}) {what}" + (f", misses {missing}" if missing else "")


def _ours(survey: Survey, name: str) -> bool:
    return survey.staying(name) is None


def _commands(survey: Survey, configs: list[Config], target: str) -> str:
    scripts = [
        path
        for path in survey.files
        if "/" not in path and "train" in path and not survey.files[path].gone
    ]
    train = (
        "train.py"
        if _ours(survey, "train.py") or "train.py" in scripts
        else (scripts or ["train.py"])[0]
    )
    tests = [
        path
        for path in survey.files
        if "/" not in path and "test" in path and not survey.files[path].gone
    ]
    test = "test.py" if "test.py" in survey.files or not tests else tests[0]
    config = min((config.path for config in configs), key=len, default="config.json")
    ours = _ours(survey, "BaseTrainer")
    run = "saved/NAME/RUN_ID" if ours else "saved/models/NAME/RUN_ID/checkpoint-epochN.pth"
    best = (
        run if _ours(survey, "test.py") else run.replace("checkpoint-epochN.pth", "model_best.pth")
    )
    best += "/model_best.pt" if ours and not _ours(survey, "test.py") else ""
    checkpoint = run + (
        "/checkpoint-epochN.pt" if ours and not _ours(survey, "ConfigParser") else ""
    )
    size = (
        " data_loader.args.batch_size=512"
        if _ours(survey, "test.py") and "test.py" in survey.files
        else ""
    )
    libraries = needs(survey)
    rows = [f"cd {target}", "python3 -m venv .venv && .venv/bin/pip install ."]
    rows += [f"# it also imports: {', '.join(libraries)}"] * bool(libraries)
    rows += [f".venv/bin/python {train} -c {config}", f".venv/bin/python {train} -r {checkpoint}"]
    rows += [f".venv/bin/python {test} -r {best}{size}"] * bool(
        test in survey.files or _ours(survey, "test.py")
    )
    rows += [
        f".venv/bin/python train.py -c {config} --check   # tries all of it on one batch"
    ] * _ours(survey, "train.py")
    note = "Old checkpoints resume by their path in the old folder, whose saved/ and .git were not copied.\n"
    return "\n".join(["## Commands\n", "```sh", *rows, "```\n", note])


def _gains(survey: Survey) -> list[str]:
    """What ours brings at once; our loader's own is given up for the template's order."""
    names = [
        name
        for name in MISSING
        if name not in ("BaseModel", "BaseDataLoader") and _had(survey, name)
    ]
    return [f"by our {name}: {MISSING[name]}" for name in names if _ours(survey, name)]


def _had(survey: Survey, name: str) -> bool:
    return any(
        name in (file.path, item.name)
        for file in survey.files.values()
        for item in file.definitions
    )


def _more(survey: Survey, folder: Folder) -> list[str]:
    rows = []
    for name, text in MISSING.items():
        place = survey.staying(name)
        if place is None or name == "BaseModel":
            continue
        file, item = place
        where = f"{file.path}:{item.start}"
        if name.endswith(".py"):
            rows.append(
                f"{text}: take our {name} in place of yours, and name the parts that yours makes in the config"
            )
            continue
        home = our_names().get(name)
        if home is None or (file.path.split("/")[0] == "trainer"):
            continue
        both = {"BaseTrainer": " (with ConfigParser)", "ConfigParser": " (with BaseTrainer)"}.get(
            name, ""
        )
        line = f"from {moved_to(home, folder.moved)} import {name}"
        rows.append(f"{text}: at {where} write `{line}` in place of your class{both}")
    if (place := survey.staying("Trainer")) and place[1].kind == "changed":
        rows += [
            f"mixed precision, accumulation, clipping, EMA (in a Trainer that derives from ours): {row}"
            for row in steps(survey)
        ]
    return [*rows, _processes(survey, folder)]


def _processes(survey: Survey, folder: Folder) -> str:
    """What a process for each GPU asks for."""
    text = "several GPUs, a process for each (`-d 0,1`, or `parallel` in the config)"
    trainer = survey.staying("BaseTrainer")
    if trainer and MANY in trainer[1].why:
        return f"{text}, in place of DataParallel: write `n_gpu: 1` where a config {MANY}, and move it in anew"
    steps = ["take our train.py"] * (not _had(survey, "train.py") or not _ours(survey, "train.py"))
    steps += ["take our BaseDataLoader, which divides a batch among them"] * (
        not _ours(survey, "BaseDataLoader")
    )
    if any(repair.name == "template_order" for repair in folder.repairs):
        steps.append(
            "delete repairs/template_order.py and its line in base/__init__.py, which cannot divide a batch"
        )
    if survey.staying("Trainer"):
        steps.append(
            "call `self.update.backward(loss, self.share)`, which counts parts of a batch by their size"
        )
    return f"{text}: {'; '.join(steps)}"
