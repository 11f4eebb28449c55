"""Kills at random and at chosen moments, and what must hold after each."""

from __future__ import annotations

import functools
import math
import random
import time
from pathlib import Path
from typing import Any

import torch

from tests.torture.harness import (
    Project,
    digest_of,
    digest_of_run,
    load_newest,
    make_config,
    project,
)
from utils.checkpoints import BEST

TRAIN_SAMPLES = 80
# All have dropout, augmentation, batch norm, EMA, and a schedule that moves with the steps.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "workers": {"workers": 2},
    "accumulation": {"accumulation": 4},
    "both": {"workers": 2, "accumulation": 4},
    "async": {"workers": 2, "async_save": True},
    "iteration": {"len_epoch": 10, "save_steps": 5},
}
# Points at which a run is killed, and how often it passes each.
POINTS = {"save": 12, "rename": 12, "metrics": 3, "validation": 12, "epoch": 3}


class Reference:
    """A run without faults: its digest, and its states after each step and epoch, by name.

    Args:
        project: where it runs.
        name: of its config; a part of its run id.
        config: the arguments of ``make_config``.
    """

    def __init__(self, project: Project, name: str, **config: Any) -> None:
        self.project, self.name, self.accumulation = project, name, config.get("accumulation", 1)
        self.config = project.config(name, make_config(**config))
        words = ["train.py", "-c", self.config, "--run-id", f"{name}-reference"]
        life = project.start(*words, point="epoch")
        life.wait_for_mark()
        start = time.monotonic()
        done = life.wait()
        assert done.code == 0, done.err
        self.seconds = time.monotonic() - start
        folder = project.run_folder(f"{name}-reference")
        check_orders(folder)
        self.digest = digest_of_run(folder)
        self.names = {path.name for path in folder.glob("*.pt")}
        self.states = self._digest_every_step(config)
        self.epochs = {state for name, state in self.states.items() if "step" not in name}

    def _digest_every_step(self, config: dict[str, Any]) -> dict[str, str]:
        """The digests of the checkpoints of the same run when it saves after every step."""
        run_id = f"{self.name}-every"
        every = make_config(**config | {"save_steps": 1, "keep_last": None})
        words = ["train.py", "-c", self.project.config(run_id, every), "--run-id", run_id]
        assert self.project.run(*words).code == 0
        paths = self.project.run_folder(run_id).glob("*.pt")
        return {path.name: digest_of(load_without_config(path)) for path in paths}

    def compare(self, run_id: str) -> None:
        """Every checkpoint in a run's folder holds the state that this run had there."""
        for path in self.project.run_folder(run_id).glob("*.pt"):
            found = digest_of(load_without_config(path))
            expected = self.epochs if path.name == BEST else {self.states.get(path.name)}
            assert found in expected, f"{path.name} differs from that of the run without faults"

    def finish(self, run_id: str) -> None:
        """Resumes a run, which must end with the bits of this one and leave nothing behind."""
        found = self.project.finish(self.config, run_id)
        folder = self.project.run_folder(run_id)
        check_orders(folder)
        self.compare(run_id)
        assert found == self.digest, "the end differs from that of the run without faults"
        leftovers = list(folder.rglob("*.tmp"))
        assert not leftovers, f"left behind: {leftovers}"


@functools.cache
def reference(variant: str) -> Reference:
    """The run of a variant without faults, in this test process."""
    return Reference(project(), variant, **VARIANTS[variant])


def load_without_config(path: Path) -> dict[str, Any]:
    """A checkpoint's state. The config says how often to save, which may differ."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    del state["config"]
    return state


def check_orders(folder: Path) -> None:
    """Every epoch took every training sample once, and in an order of its own."""
    seen = load_newest(folder)["parts"]["seen"]
    counted = zip(seen["order"], seen["count"], strict=True)
    orders = [order[: int(count)].tolist() for order, count in counted]
    samples = sorted(set(orders[0]))
    assert len(samples) == TRAIN_SAMPLES
    assert all(sorted(order) == samples for order in orders), "samples are missing or repeated"
    assert len({tuple(order) for order in orders}) == len(orders), "two epochs have the same order"


def kill(
    reference: Reference, run_id: str, draw: random.Random, at_point: bool, fraction: float
) -> str | None:
    """Resumes a run, and kills it in the first ``fraction`` of its length.

    Args:
        reference: the same run without faults.
        run_id: of the run.
        draw: draws the moment.
        at_point: kill it shortly after one of ``POINTS``; otherwise at any time.
        fraction: of the run.

    Returns:
        Where the run was killed; None if it had ended before.
    """
    point = draw.choice(list(POINTS)) if at_point else "epoch"
    n = draw.randint(1, math.ceil(POINTS[point] * fraction)) if at_point else 1
    project = reference.project
    life = project.start(*project.words(reference.config, run_id), point=point, n=n)
    seconds = draw.uniform(0, 0.004 if at_point else reference.seconds * fraction)
    if life.wait_for_mark() is not None:
        time.sleep(seconds)
    life.send(9)
    code = life.wait().code
    assert code in (0, -9), f"status {code}: {(project.folder / 'err.txt').read_text()[-2000:]}"
    return f"{seconds * 1000:.1f} ms after {point} {n}" if code else None
