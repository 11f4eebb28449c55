"""Kills at random and at chosen moments, and what must hold after each."""

from __future__ import annotations

import functools
import math
import random
import time
from typing import Any

import torch

from tests.torture.harness import Project, digest, digest_of, newest, project, small
from utils.checkpoints import BEST

# workers 0 and 2 x accumulation 1 and 4, all with dropout, augmentation, batch norm, EMA and a schedule by steps.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "workers": {"workers": 2},
    "accumulation": {"accumulation": 4},
    "both": {"workers": 2, "accumulation": 4},
    "async": {"workers": 2, "async_save": True},
    "iteration": {"len_epoch": 10, "save_steps": 5},
}
AIMS = {
    "save": 12,
    "rename": 12,
    "metrics": 3,
    "validation": 12,
    "epoch": 3,
}  # a place, and how often a run passes it


class Reference:
    """A run that nobody disturbs: its digest, and the states after each of its steps and epochs, by name.

    Args:
        config: what ``small`` takes.
    """

    def __init__(self, project: Project, name: str, **config: Any) -> None:
        self.project, self.name, self.accumulation = project, name, config.get("accumulation", 1)
        self.config = project.config(name, small(**config))
        life = project.start(
            "train.py", "-c", self.config, "--run-id", f"{name}-reference", place="epoch"
        )
        life.at_mark()
        start = time.monotonic()
        done = life.wait()
        assert done.code == 0, done.err
        self.seconds = time.monotonic() - start
        self.folder = project.run_folder(f"{name}-reference")
        self.digest = digest(self.folder)
        self.names = {path.name for path in self.folder.glob("*.pt")}
        permutations(self.folder)
        every = project.config(
            f"{name}-every", small(**config | {"save_steps": 1, "keep_last": None})
        )
        assert project.run("train.py", "-c", every, "--run-id", f"{name}-every").code == 0
        self.states = {
            path.name: digest_of(load(path))
            for path in project.run_folder(f"{name}-every").glob("*.pt")
        }
        self.epochs = {state for name, state in self.states.items() if "step" not in name}

    def compare(self, run_id: str) -> None:
        """Every checkpoint that stands in a run's folder holds the very state that the undisturbed run had there."""
        for path in self.project.run_folder(run_id).glob("*.pt"):
            found = digest_of(load(path))
            good = (
                found in self.epochs if path.name == BEST else found == self.states.get(path.name)
            )
            assert good, f"{path.name} is another one than the undisturbed run's"

    def finish(self, run_id: str) -> None:
        """Lets a run go on to its end, which must be the undisturbed one's."""
        found = self.project.finish(self.config, run_id)
        permutations(self.project.run_folder(run_id))
        self.compare(run_id)
        assert found == self.digest, "another end than the undisturbed run's"
        litter = list(self.project.run_folder(run_id).rglob("*.tmp"))
        assert not litter, f"left behind: {litter}"


@functools.cache
def reference(variant: str) -> Reference:
    """The undisturbed run of a variant in this test process."""
    return Reference(project(), variant, **VARIANTS[variant])


def load(path: Any) -> dict[str, Any]:
    """A checkpoint's state without the config, of which the names and counts of files kept are a part."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    del state["config"]
    return state


def permutations(folder: Any) -> None:
    """Every epoch took every training sample once, and the epochs took them in different orders."""
    seen = newest(folder)["parts"]["seen"]
    rows = [
        row[: int(count)].tolist() for row, count in zip(seen["order"], seen["count"], strict=True)
    ]
    assert all(len(row) == 80 and sorted(row) == sorted(set(rows[0])) for row in rows), (
        "no permutation of the data"
    )
    assert len({tuple(row) for row in rows}) == len(rows), (
        "two epochs took the data in the same order"
    )


def kill(
    reference: Reference, run_id: str, draw: random.Random, aimed: bool, share: float
) -> str | None:
    """Lets a run go on, and kills it within a share of its length. Returns where; None if it had ended before."""
    place = draw.choice(list(AIMS)) if aimed else "epoch"
    n = draw.randint(1, math.ceil(AIMS[place] * share)) if aimed else 1
    project = reference.project
    life = project.start(*project.words(reference.config, run_id), place=place, n=n)
    seconds = draw.uniform(0, 0.004 if aimed else reference.seconds * share)
    if life.at_mark() is not None:
        time.sleep(seconds)
    life.send(9)
    code = life.wait().code
    assert code in (0, -9), f"status {code}: {(project.folder / 'err.txt').read_text()[-2000:]}"
    if code == 0:
        return None
    return f"{seconds * 1000:.1f} ms after {place} {n}"
