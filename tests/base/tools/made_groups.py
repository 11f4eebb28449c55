"""Makes the folders of runs and groups, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START = "2026-11-25T10:00:00+01:00"
MONITOR = "max val_accuracy"


def make_member(
    root: Path,
    name: str,
    score: float | None,
    seed: int = 123,
    lr: float = 0.1,
    outcome: str = "finished",
    monitor: str = MONITOR,
    **loader_args: int,
) -> Path:
    """Makes a run whose second and last epoch is the best; without a score, it has no epochs."""
    folder = root / name
    (folder / "log").mkdir(parents=True)
    config = {
        "name": name.split("/")[0],
        "seed": seed,
        "data_loader": {"type": "DigitsDataLoader", "args": loader_args},
        "optimizer": {"type": "SGD", "args": {"lr": lr}},
        "trainer": {"epochs": 2, "monitor": monitor},
    }
    session = {"start": START, "git_commit": "a" * 40, "git_diff": None, "outcome": outcome}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "provenance.json").write_text(json.dumps({"sessions": [session]}))
    if score is not None:
        values = (score - 0.1, score)
        rows = [
            {"epoch": n, "val_accuracy": x, "val_loss": 1 - x, "val_f1": 1 - x}
            for n, x in enumerate(values, 1)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "log" / "metrics.jsonl").write_text(text)
    return folder


def make_group(root: Path, name: str, **sections: Any) -> Path:
    """Makes the folder of a search or a repetition, without members."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    config = {"name": name.split("/")[0], "seed": 123, "trainer": {"monitor": MONITOR}} | sections
    (folder / "group.json").write_text(json.dumps(config))
    return folder


def make_seeds(root: Path, name: str, scores: Mapping[int, float], lr: float = 0.1) -> Path:
    """Makes a finished repetition with these scores by seed."""
    folder = make_group(root, name, repeat={"seeds": list(scores)})
    for seed, score in scores.items():
        make_member(root, f"{name}/seed-{seed}", score, seed, lr)
    return folder


def make_folds(root: Path, name: str, scores: Mapping[tuple[int, int], float], **args: int) -> Path:
    """Makes a finished repetition with these scores by seed and fold, of five folds."""
    seeds = sorted({seed for seed, _ in scores})
    folder = make_group(root, name, repeat={"seeds": seeds, "folds": 5})
    for (seed, fold), score in scores.items():
        member = f"{name}/seed-{seed}-fold-{fold}"
        make_member(root, member, score, seed, folds=5, fold=fold, **args)
    return folder
