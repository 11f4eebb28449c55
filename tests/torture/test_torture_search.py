"""Searches that are killed or stopped, at any time, end with the trials of one that was not."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from base.tools.run_record import RunRecord
from tests.ranks import list_descendants
from tests.torture.harness import Life, digest_of_run, make_config, project, report, times

optuna = pytest.importorskip("optuna")
TRIALS = 12
KILLS = 2  # of each search
HANGS_SECONDS = 300.0
TPE = {"type": "optuna.samplers.TPESampler", "args": {"n_startup_trials": 3}}
HALVING = {"type": "SuccessiveHalvingPruner", "args": {"min_resource": 1, "reduction_factor": 2}}
MEDIAN = {"type": "MedianPruner", "args": {"n_startup_trials": 2}}
# With two jobs, what a sampler or a pruner has seen depends on the time. "random" looks at nothing.
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "tpe": ({"sampler": TPE}, 1),
    "halving": ({"sampler": TPE, "pruner": HALVING}, 1),
    "jobs": ({"sampler": "random"}, 2),
    "median": ({"sampler": TPE, "pruner": MEDIAN}, 1),
}
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
FAULTS = ("parent", "run", "both", "SIGTERM", "SIGINT")


class Search:
    """The search of a variant without faults, and others that must end as it does."""

    def __init__(self, name: str) -> None:
        self.name = name
        search, self.jobs = VARIANTS[name]
        config = make_config() | {"name": "torture"}
        del config["lr_scheduler"]
        space = {
            "optimizer.args.lr": {"low": 1e-3, "high": 1e-1, "log": True},
            "optimizer.args.weight_decay": [0.0, 0.01],
            "data_loader.args.batch_size": [8, 16],
        }
        config["search"] = {"space": space, "trials": TRIALS} | search
        self.config = project().config(f"search-{name}", config)
        start = time.monotonic()
        life = self.start(f"{name}-reference")
        self.finish(life)
        self.seconds = time.monotonic() - start
        self.trials = self.read(f"{name}-reference")
        states = {state for state, *_ in self.trials}
        assert states == ({"COMPLETE", "PRUNED"} if "pruner" in search else {"COMPLETE"})

    def start(self, run_id: str) -> Life:
        """Starts a search, or continues it."""
        words = ["train.py", "-c", self.config, "--run-id", run_id]
        if (project().run_folder(run_id) / "group.json").is_file():
            words = ["train.py", "-r", f"saved/torture/{run_id}"]
        return project().start(*words, "--jobs", self.jobs)

    def finish(self, life: Life) -> None:
        """Waits for the end of a search, which must be a good one."""
        done = life.wait(HANGS_SECONDS)
        assert done.code == 0, f"status {done.code}\n{done.out[-2000:]}\n{done.err[-2000:]}"

    def read(self, run_id: str) -> list[tuple[Any, ...]]:
        """The trials in the storage, each with the digest of its run, in the order of numbers."""
        group = project().run_folder(run_id)
        study = optuna.load_study(
            study_name=f"torture/{run_id}", storage=f"sqlite:///{group / 'storage.db'}"
        )
        return [
            (
                trial.state.name,
                trial.params,
                trial.value,
                trial.intermediate_values,
                digest_of_run(group / f"trial-{trial.number}"),
            )
            for trial in study.get_trials()
        ]

    def compare(self, run_id: str) -> None:
        """The trials of a search are those of this one, to the bit, and each has run once."""
        group = project().run_folder(run_id)
        folders = sorted(path.name for path in group.glob("trial-*"))
        assert folders == sorted(f"trial-{number}" for number in range(TRIALS))
        found = self.read(run_id)
        assert len(found) == TRIALS
        for number, (trial, expected) in enumerate(zip(found, self.trials, strict=True)):
            assert trial == expected, f"trial {number} is {trial}, and was {expected}"
            ends = [item["outcome"] for item in RunRecord(group / f"trial-{number}").sessions]
            assert ends.count("finished") <= 1, f"trial {number} has run twice: {ends}"
        leftovers = list(group.rglob("*.tmp"))
        assert not leftovers, f"left behind: {leftovers}"


@functools.cache
def get_search(variant: str) -> Search:
    """The search of a variant, in this test process."""
    return Search(variant)


def hit(life: Life, group: Path, fault: str, draw: random.Random) -> list[int]:
    """Does ``fault`` to a search. Returns the runs that it may leave behind."""
    runs = list_descendants(life.pid)
    # Before the first trial, the process is that of the check, without which no search begins.
    while fault in ("run", "both") and not (runs and any(group.glob("trial-*"))):
        if life.has_ended():
            break
        runs = list_descendants(life.pid)
    victims = {"parent": [life.pid], "run": runs[:1], "both": [life.pid, *runs]}.get(fault, [])
    draw.shuffle(victims)
    for pid in victims:
        if not life.has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if fault in ("SIGTERM", "SIGINT"):
        life.send(getattr(signal, fault))
    return runs


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def torture(search: Search, run_id: str, faults: list[str], draw: random.Random) -> None:
    """Does the ``faults`` to one search at random times, and continues it to its end."""
    life, group = search.start(run_id), project().run_folder(run_id)
    for fault in faults:
        done = sum(RunRecord(path).state == "finished" for path in group.glob("trial-*"))
        time.sleep(draw.uniform(0, search.seconds * (1 - done / TRIALS)))
        if life.has_ended():
            break  # the end must be the same all the same
        runs = hit(life, group, fault, draw)
        if fault != "run":  # the parent of a killed run goes on
            check_end(life, fault, runs)
            life = search.start(run_id)
    search.finish(life)


def check_end(life: Life, fault: str, runs: list[int]) -> None:
    """A search that was asked to stop ends with the right status, and leaves no ``runs`` behind."""
    done = life.wait(HANGS_SECONDS)
    if fault in ("SIGTERM", "SIGINT"):
        number = getattr(signal, fault)
        # Before the program has a handler, the signal ends it. It may also have just ended.
        assert done.code in (STATUS[number], -number, 0), f"{fault}: status {done.code}"
        assert "Traceback" not in done.err, done.err
        assert not any(map(is_alive, runs)), f"{fault} leaves a run behind"


def test_a_search_that_is_killed_or_stopped_ends_with_the_same_trials_and_bits():
    start, failures, count = time.monotonic(), [], times(30, 3)
    draw = random.Random(19)
    variants = list(VARIANTS)[: times(4, 3)]
    for number in range(count):
        search = get_search(variants[number % len(variants)])
        faults = draw.choices(FAULTS, k=KILLS)
        run_id = f"{search.name}-{number}"
        try:
            torture(search, run_id, faults, draw)
            search.compare(run_id)
        except AssertionError as error:
            failures.append(f"{run_id}, {', '.join(faults)}: {error}")
    report(19, "kill -9, SIGTERM and SIGINT of searches", count, failures, start)
