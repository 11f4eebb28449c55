"""Training steps on an accelerator: ``python -m tests.benchmarks --device cuda``.

Each arm of a case is a process (``device_arm.py``), because the peak memory of a device belongs to
a process, and because the frameworks change settings of torch that would reach the other arms. The
processes of a case stay alive and train an epoch in turn, so that a round costs no start and no
compilation, and a slow minute of the machine meets every arm.

The arms are ``limit`` (``tuned.py``: bf16, channels_last, compiled, fused optimizer, batches
prefetched on a side stream), ``ours`` with the same options, ``plain`` (the tutorial's loop: fp32,
a number fetched in each step), and Accelerate and Lightning as their guides write it for bf16,
which compile nothing. ``--no-compile`` compares the loops without a compiler.

The time in which the device waits for data is the difference between a step on data of the machine
and a step on batches that are on the device already, with the same augmentation, as a fraction of
the former. This needs no profiler, and counts only time that a perfect loader would save.
As a second measurement, without a difference of two long times, ``gap`` is the time on the device's
stream between the end of a step and the next batch: the augmentation, the copy and idle time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.device_report import ORDER, show, summarize
from tests.benchmarks.start import ROOT, measure_seconds
from tests.benchmarks.table import is_installed

CASES = {  # the most important first, with the fraction of the budget after which its rounds end
    "resnet18_224": 0.45,
    "resnet18_32": 0.65,
    "transformer": 0.85,
    "mlp": 0.93,
    "start": 1.0,
}
COMPILED = RESIDENT = ("limit", "ours")
ARMS_OF_START = ("limit", "ours", "plain")
PICTURES = ("resnet18_224", "resnet18_32")
MAX_SECONDS_OF_ANSWER = 240.0  # for a start or an epoch, with compilation
Row = dict[str, Any]


class ArmError(Exception):
    """An arm ended, or did not answer."""


class Arm:
    """A process that trains one case in one way.

    Attributes:
        has_failed: whether it has ended, or not answered.
        compiles: whether its model is compiled.
        words: what it is told in a round.
    """

    def __init__(self, name: str, case: str, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.case, self.has_failed = name, case, False
        self.compiles = options.compile and name in COMPILED
        self.words = ["loader"]
        if case in PICTURES and name in RESIDENT:
            self.words.append("resident")
        self.log = folder / f"{case}_{name}.log"
        flags = ["compile"] if self.compiles else []
        if options.smoke:
            flags.append("smoke")
        words = [name, case, options.device, str(folder / case / name), *flags]
        command = [sys.executable, "-m", "tests.benchmarks.device_arm", *words]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, text=True, **pipes)

    def send(self, word: str) -> None:
        words: Any = self.process.stdin
        try:
            words.write(f"{word}\n")
            words.flush()
        except BrokenPipeError:
            pass  # `receive` gives the reason

    def receive(self) -> Row:
        """Returns the answer to the last word, or the description of a process that has started.

        Raises:
            ArmError: there is none.
        """
        answers: Any = self.process.stdout
        ready, _, _ = select.select([answers], [], [], MAX_SECONDS_OF_ANSWER)
        line = answers.readline() if ready else ""
        if line:
            row: Row = {"case": self.case, "arm": self.name} | json.loads(line)
            return row
        problem = "it ended" if ready else f"no answer in {MAX_SECONDS_OF_ANSWER:.0f} s"
        last_line = self.log.read_text().strip().splitlines()[-1:]
        raise ArmError(": ".join([problem, *last_line]))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Benchmark:
    """Measures cases and arms in turn until the budget is used up.

    Attributes:
        names: the arms to measure.
        results: what ``--json`` gets.
        arms: the processes of each case.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.begin = options, folder, time.perf_counter()
        self.arms: dict[str, list[Arm]] = {}
        chosen = options.arm or ORDER
        self.names = [arm for arm in chosen if is_installed(arm)]
        self.results: dict[str, Any] = {
            "options": {key: str(value) for key, value in vars(options).items()},
            "machine": {},
            "missing": [arm for arm in chosen if arm not in self.names],
            "failed": {},
            "skipped": [],
            "summary": {},
            "rows": [],
        }

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    def save(self) -> None:
        self.results["seconds"] = round(self.seconds, 1)
        if self.options.json is not None:
            self.options.json.write_text(json.dumps(self.results, indent=1) + "\n")

    def run(self) -> None:
        cases = self.options.case or list(CASES)
        for arm in self.results["missing"]:
            print(f"{arm}: left out, because its package is not installed")
        if self.options.at_once:
            self.start(case for case in cases if case != "start")
        for case in cases:
            if self.seconds >= self.options.seconds:
                self.results["skipped"].append(case)
                print(f"\n{case}: skipped, because the {self.options.seconds:.0f} s are used up")
                continue
            if case == "start":
                self.measure_start()
            else:
                self.measure(case)
            summary = summarize(case, self.results["rows"])
            self.results["summary"][case] = summary
            self.save()
            show(case, summary)

    def start(self, cases: Iterable[str]) -> None:
        """Starts processes and compiles models, all at once, because this uses the CPU most."""
        started = []
        for case in cases:
            self.arms[case] = [Arm(name, case, self.options, self.folder) for name in self.names]
            started += self.arms[case]
        for row in self.ask(started, None):
            self.results["machine"] |= {key: row[key] for key in ("device", "torch", "python")}
        compiled = [arm for arm in started if arm.compiles and not arm.has_failed]
        for arm in compiled:
            arm.send("compile")
        self.ask(compiled, None)

    def ask(self, arms: Iterable[Arm], word: str | None) -> list[Row]:
        """Sends a word to one arm after the other, or only waits; returns their answers."""
        rows = []
        for arm in arms:
            if arm.has_failed:
                continue
            if word is not None:
                arm.send(word)
            try:
                rows.append(arm.receive())
            except ArmError as error:
                self.fail(arm.case, arm.name, str(error))
                arm.has_failed = True
                arm.close()  # it may still hold memory of the device
        return rows

    def fail(self, case: str, arm: str, problem: str) -> None:
        self.results["failed"][f"{case} {arm}"] = problem
        print(f"{case}: {arm} failed: {problem}", file=sys.stderr)

    def measure(self, case: str) -> None:
        if case not in self.arms:
            self.start([case])
        arms = self.arms[case]
        self.ask(arms, "loader")  # a warm-up
        for number in range(1, self.options.rounds + 1):
            if number > 1 and self.seconds >= CASES[case] * self.options.seconds:
                break
            for arm in arms:
                for word in arm.words:
                    rows = self.ask([arm], word)
                    self.results["rows"] += [row | {"round": number} for row in rows]
            arms.reverse()  # so that no arm always follows the same one
            self.save()
        for arm in arms:
            arm.close()

    def measure_start(self) -> None:
        arms = [arm for arm in ARMS_OF_START if arm in self.names]
        for number in range(1, self.options.rounds + 1):
            if number > 1 and self.seconds >= CASES["start"] * self.options.seconds:
                break
            for arm in arms:
                row = {"case": "start", "arm": arm, "word": "loader", "round": number, "steps": 1}
                try:
                    seconds = measure_seconds(arm, self.options.device)
                except subprocess.CalledProcessError as error:
                    self.fail("start", arm, error.stderr.strip().splitlines()[-1])
                    continue
                self.results["rows"].append(row | {"seconds": seconds})
            self.save()


def parse(device: str, words: list[str]) -> argparse.Namespace:
    """Reads the options; on a CPU, the benchmark is a smoke test."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks --device {device}")
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated")
    parser.add_argument("--arm", action="append", choices=ORDER, help="may be repeated")
    parser.add_argument("--seconds", type=float, default=180.0, help="then no round is started")
    parser.add_argument("--rounds", type=int, help="of each case at most; 5, or 1 in a smoke test")
    parser.add_argument("--json", type=Path, help="a file for every figure of every round")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    help_text = "start the processes of all cases first: quicker, but takes more memory"
    parser.add_argument("--at-once", action="store_true", help=help_text)
    parser.add_argument("--smoke", action="store_true", help="tiny models and data")
    options = parser.parse_args(words)
    options.device = device
    options.smoke = options.smoke or device == "cpu"
    options.compile = options.compile and not options.smoke
    if options.rounds is None:
        options.rounds = 1 if options.smoke else 5
    return options


def main(device: str, words: list[str]) -> int:
    """Measures what the options ask for; returns 1 if an arm failed, else 0."""
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(parse(device, words), Path(folder))
        try:
            benchmark.run()
        finally:
            for arm in itertools.chain.from_iterable(benchmark.arms.values()):
                arm.close()
            benchmark.save()
    print(f"\n{benchmark.results['machine']}, {benchmark.seconds:.0f} s")
    return 1 if benchmark.results["failed"] else 0
