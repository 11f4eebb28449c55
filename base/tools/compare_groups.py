"""Compares two groups of runs: a table of their pairs, and whether one of them is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from base.tools.compare import describe_code, print_configs
from base.tools.group_record import SEARCH, GroupRecord, average_over_seeds, get_overlap, get_state
from base.tools.run_record import Facts, Objective, RunRecord, Variant, read_monitor
from base.tools.statistics import compare_paired, compare_unpaired
from base.tools.verdict import Subject, describe_pair, describe_verdict
from config.read.text import compare_configs
from utils.errors import UserError, abbreviate, did_you_mean
from utils.tables import print_table

Key = tuple[int, int]  # seed and fold; the fold is 0 without folds
ROUNDING = 1e-12  # a smaller difference, relative to the numbers, is none


class Scores(NamedTuple):
    """The numbers of a group's finished runs, and why others have none."""

    runs: dict[Key, RunRecord]
    values: dict[Key, float]
    left_out: list[str]

    def get_variants(self) -> list[Variant]:
        """Returns the seeds and folds of the runs."""
        return [run.variant for run in self.runs.values()]


def compare_groups(first: GroupRecord, second: GroupRecord, metric: str | None = None) -> None:
    """Prints how two groups differ in config, code and scores, and which one is better.

    Args:
        first, second: repetitions, or groups by hand whose runs have different seeds or folds.
        metric: ``val_f1``, ``max val_f1`` or ``min val_loss``: the value at the best epoch of each
            run; by default, the best value of the monitored number.

    Raises:
        UserError: the groups have no number or no runs that can be compared.
    """
    if first.folder.resolve() == second.folder.resolve():
        raise UserError(f"{first.name}: compare takes two different groups")
    objective = _choose_objective(first, second, metric)
    scores = [_read_scores(group, objective) for group in (first, second)]
    for group, found in zip((first, second), scores, strict=True):
        if not found.values:
            _refuse_number(group, found, objective.metric, is_chosen=metric is not None)
    names = [first.name, second.name]
    if first.name == second.name:
        names = [str(first.folder), str(second.folder)]
    has_folds = _check_folds(names, scores)
    pairs = sorted(scores[0].values.keys() & scores[1].values.keys())
    lines = _conclude(Subject(names[0], names[1], objective), scores, pairs, has_folds)
    _print_differences(names, scores)
    _print_table(names, scores, pairs, has_folds)
    print("\n" + "\n".join(lines))


def _choose_objective(first: GroupRecord, second: GroupRecord, metric: str | None) -> Objective:
    """Returns the number to compare. Its mode is empty if nobody knows which side is better."""
    for group in (first, second):
        if group.kind == SEARCH or any(isinstance(item, GroupRecord) for item in group.members):
            _refuse_search(group)
    monitors = {run.monitor for group in (first, second) for run in group.runs if run.best}
    if metric is None:
        if len(monitors) > 1:
            found = ", ".join(sorted(" ".join(monitor) for monitor in monitors))
            message = f"their runs monitor different numbers: {found}"
            raise UserError(f"{message}; choose one by --metric, such as --metric 'max NAME'")
        return next(iter(monitors), first.monitor)
    same = [monitor for monitor in monitors if monitor.metric == metric]
    mode = "min" if "loss" in metric else ""
    return read_monitor(metric) or (same[0] if len(same) == 1 else Objective(mode, metric))


def _refuse_search(group: GroupRecord) -> NoReturn:
    best = group.best
    if isinstance(best, RunRecord):
        command = f"python train.py -c {best.folder}/config.json --run-id best repeat.seeds=5"
        advice = f"; to compare its best trial, repeat it: {command}"
    else:
        advice = "" if best is None else f"; compare its trials, such as the best, {best.name}"
    kind = "is a search, whose trials" if group.kind == SEARCH else "holds groups, which"
    raise UserError(f"{group.name} {kind} differ in more than seed and fold{advice}")


def _read_scores(group: GroupRecord, objective: Objective) -> Scores:
    scores = Scores({}, {}, [f"{group.name}/{name} (not begun)" for name in group.missing])
    for run in group.runs:
        value = run.best_row.get(objective.metric)
        seed, fold = run.variant.seed, run.variant.fold
        state = get_state(run)
        if not run.config or seed is None:
            scores.left_out.append(f"{run.name} (has no config)")
        elif state != "finished":
            scores.left_out.append(f"{run.name} ({state or 'not finished'} at {run.epochs})")
        elif not isinstance(value, int | float):
            scores.left_out.append(f"{run.name} (has no {objective.metric})")
        else:
            key = (seed, fold or 0)
            if key in scores.runs:
                _refuse_doubles(group, scores.runs[key], run)
            scores.runs[key], scores.values[key] = run, float(value)
    return scores


def _refuse_doubles(group: GroupRecord, first: RunRecord, second: RunRecord) -> NoReturn:
    seed, fold = first.variant.seed, first.variant.fold
    what = f"seed {seed}" + ("" if fold is None else f" and fold {fold}")
    message = f"{first.name} and {second.name} both have {what}"
    raise UserError(f"{group.name}: {message}; a group to compare has one run for each")


def _refuse_number(group: GroupRecord, scores: Scores, metric: str, is_chosen: bool) -> NoReturn:
    names = list(dict.fromkeys(key for run in group.runs for key in run.best_row))
    if is_chosen and names and metric not in names:
        found = f"{did_you_mean(metric, names)}; there are {abbreviate(names, 12)}"
        raise UserError(f"--metric: no run of {group.name} has a {metric}{found}")
    reasons = f": {abbreviate(scores.left_out, 5)}" if scores.left_out else ""
    raise UserError(f"{group.name}: no finished run has a {metric}{reasons}")


def _check_folds(names: Sequence[str], scores: Sequence[Scores]) -> bool:
    """Returns whether the runs are on folds.

    Raises:
        UserError: the folds of the groups are not the same.
    """
    folds = [
        {variant.folds if variant.fold else None for variant in found.get_variants()}
        for found in scores
    ]
    texts = [" or ".join(sorted(str(number or "no") for number in found)) for found in folds]
    if len(folds[0] | folds[1]) > 1:
        message = f"{names[0]} has {texts[0]} folds and {names[1]} {texts[1]}"
        raise UserError(f"{message}; give both the same repeat.folds")
    has_folds = folds[0] != {None}
    common = scores[0].runs.keys() & scores[1].runs.keys()
    splits = [[found.runs[key].variant.split_seed for key in sorted(common)] for found in scores]
    if has_folds and splits[0] != splits[1]:
        message = f"the folds of {names[0]} and {names[1]} hold different samples"
        raise UserError(f"{message}; give both the same data_loader.args.split_seed")
    return has_folds


def _print_differences(names: list[str], scores: Sequence[Scores]) -> None:
    firsts = [next(iter(found.runs.values())) for found in scores]
    print_configs(names, [_drop_variant(run.config) for run in firsts])
    print(f"\n{describe_code(firsts)}\n")


def _drop_variant(config: Facts) -> Facts:
    """Returns a config without the values in which the runs of a group differ."""
    kept = {key: value for key, value in config.items() if key != "seed"}
    loader = kept.get("data_loader")
    if isinstance(loader, dict) and isinstance(loader.get("args"), dict):
        args = {key: value for key, value in loader["args"].items() if key != "fold"}
        kept["data_loader"] = loader | {"args": args}
    return kept


def _print_table(
    names: list[str], scores: Sequence[Scores], pairs: Sequence[Key], has_folds: bool
) -> None:
    """Prints a row for each seed and fold of either group, and the means over the pairs."""
    rows: list[tuple[str, ...]] = []
    for key in sorted(scores[0].values.keys() | scores[1].values.keys()):
        values = [found.values.get(key) for found in scores]
        cells = ["-" if value is None else f"{value:.5g}" for value in values]
        rows.append((*map(str, key), *cells, _format_difference(*values)))
    if len(pairs) > 1:
        means = [sum(found.values[key] for key in pairs) / len(pairs) for found in scores]
        rows.append(("mean", "", *(f"{mean:.5g}" for mean in means), _format_difference(*means)))
    table = [("seed", "fold", *names, "difference"), *rows]
    print_table([row if has_folds else (row[0], *row[2:]) for row in table])


def _format_difference(first: float | None, second: float | None) -> str:
    return "" if first is None or second is None else f"{_subtract(first, second):+.5g}"


def _subtract(first: float, second: float) -> float:
    difference = first - second
    return 0.0 if abs(difference) < ROUNDING * max(abs(first), abs(second)) else difference


def _conclude(
    subject: Subject, scores: Sequence[Scores], pairs: Sequence[Key], has_folds: bool
) -> list[str]:
    """Returns the sentences: which group is better, and which runs this is based on."""
    first, second = scores
    variants = {key: first.runs[key].variant for key in pairs}
    differences = {variants[key]: _subtract(first.values[key], second.values[key]) for key in pairs}
    values = average_over_seeds(differences)
    if len(values) > 1:
        comparison = compare_paired(values, get_overlap(differences))
        lines = describe_verdict(subject, comparison, list(differences))
    elif pairs:
        lines = [describe_pair(subject, values[0], list(differences))]
    elif has_folds or min(len(first.values), len(second.values)) < 2:
        raise UserError(
            f"{subject.first} and {subject.second} have no finished run with the same seed"
            f"{' and fold' if has_folds else ''}; run the same repeat in both"
        )
    else:
        samples = [list(found.values.values()) for found in scores]
        sizes = (len(samples[0]), len(samples[1]))
        lines = describe_verdict(subject, compare_unpaired(*samples), [], sizes)
    return lines + _list_notes(subject, scores, pairs)


def _list_notes(subject: Subject, scores: Sequence[Scores], pairs: Sequence[Key]) -> list[str]:
    lines = []
    for name, found in zip((subject.first, subject.second), scores, strict=True):
        if found.left_out:
            lines.append(f"Left out of {name}: {', '.join(found.left_out)}")
        unpaired = [found.runs[key].name for key in sorted(found.runs) if key not in pairs]
        if pairs and unpaired:
            lines.append(f"Without a partner in the other group: {', '.join(unpaired)}")
        differing = compare_configs([_drop_variant(run.config) for run in found.runs.values()])
        keys = [row[0] for row in differing if row[0] != "data_loader.args.split_seed"]
        if keys:
            lines.append(f"The runs of {name} also differ in {abbreviate(keys, 5)}")
    return lines
