"""A process that trains one case in one way, an epoch each time it is told to.

``device.py`` starts it and writes a word into its standard input for each epoch. The process
answers with a line of JSON. The words are

- ``loader``: train an epoch on the data in the memory of the machine;
- ``resident``: on batches that are on the device already, with the same augmentation (only
  ``limit`` and ``ours``);
- ``compile``: train two batches, while other processes may use the device.

The time runs from the arrival of an epoch's first batch to the end of its last step on the device,
because the wait for a first batch does not count in an epoch of thousands.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from base.loop.step_writer import peak_memory_mb
from tests.benchmarks.device_cases import Case, CaseLoader, add_to_project, get_case
from tests.benchmarks.peers import ARMS, LR, Clock, Job
from tests.benchmarks.tuned import GatheredBatches, limit
from utils.batch import to_device

FOREVER = 10**9  # epochs; the process ends when its standard input does
NUM_RESIDENT_BATCHES = 2
NUM_COMPILE_BATCHES = 2


class TurnClock(Clock):
    """Waits for a word before each epoch, and answers after it.

    Args:
        answer: gets the figures of an epoch.
        device: where the training runs.
        case: its steps are counted.

    Attributes:
        word: of this epoch.
    """

    def __init__(self, answer: Any, device: torch.device, case: Case) -> None:
        super().__init__()
        self.answer, self.device, self.case, self.word = answer, device, case, ""
        self.has_events = device.type != "cpu" and case.is_pictures
        self.steps = 0
        self.events: list[tuple[Any, Any]] = []

    def begin(self, *_: Any) -> None:
        self.word = sys.stdin.readline().strip()
        if not self.word:
            os._exit(0)
        # cuDNN keeps its choice of algorithms for each value of this switch, which has no effect
        # on bf16. So a choice made while other processes used the device is not kept.
        torch.backends.cudnn.allow_tf32 = self.word != "compile"
        if self.device.type != "cpu":
            torch.accelerator.reset_peak_memory_stats(self.device)
        self.steps, self.events = self.case.steps, []
        self.restart()

    def restart(self) -> None:
        self.synchronize()
        super().begin()

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def watch(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yields the batches; records on the device when a step ended and the next batch was there.

        The events do not wait for the device. Only pictures have them, because they would count
        in a step of 100 microseconds.
        """
        end_of_step = None
        if self.word == "compile":
            batches = itertools.islice(batches, NUM_COMPILE_BATCHES)
        for number, batch in enumerate(batches):
            if number == 0:
                self.restart()
            elif end_of_step is not None:
                self.events.append((end_of_step, self.record()))
            yield batch
            end_of_step = self.record() if self.has_events else None

    def record(self) -> Any:
        event = getattr(torch, self.device.type).Event(enable_timing=True)
        event.record()
        return event

    def end(self, *_: Any) -> None:
        self.synchronize()
        super().end()
        gaps = [start.elapsed_time(end) for start, end in self.events]
        figures = {
            "word": self.word,
            "seconds": self.seconds[-1],
            "steps": self.steps,
            "peak_mb": peak_memory_mb(self.device),
            "gap_ms": sum(gaps) / len(gaps) if gaps else None,
        }
        self.answer(figures)


class ResidentBatches:
    """As many batches as ``loader`` has, on the device from the start."""

    def __init__(self, tensors: Iterable[torch.Tensor], case: Case, device: torch.device) -> None:
        self.steps, size = case.steps, case.batch_size
        splits = [tensor.split(size)[:NUM_RESIDENT_BATCHES] for tensor in tensors]
        self.batches = [to_device(list(batch), device) for batch in zip(*splits, strict=True)]

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(itertools.cycle(self.batches), self.steps)

    def __len__(self) -> int:
        return self.steps


class Augmented:
    """Resident batches, augmented as a loader of ours augments its batches."""

    def __init__(self, batches: ResidentBatches, loader: CaseLoader) -> None:
        self.batches, self.loader, self.batch_size = batches, loader, loader.batch_size

    def __iter__(self) -> Iterator[Any]:
        return map(self.loader.transform, self.batches, itertools.count())

    def __len__(self) -> int:
        return len(self.batches)


class Switch:
    """Iterates over the loader, or over the resident batches, as the clock says."""

    def __init__(self, clock: TurnClock, loader: Any, resident: ResidentBatches) -> None:
        self.clock, self.loader, self.resident = clock, loader, resident

    def __iter__(self) -> Iterator[Any]:
        return iter(self.resident if self.clock.word == "resident" else self.loader)


class Setup(NamedTuple):
    """What this process trains, and how."""

    name: str
    case: Case
    device: torch.device
    folder: Path
    compiles: bool
    is_smoke: bool
    clock: TurnClock

    @property
    def bf16(self) -> bool:
        """Mixed precision is on; a CPU may take a second for a convolution in bf16."""
        return self.device.type != "cpu" or not self.case.is_pictures

    def make_tensors(self) -> tuple[torch.Tensor, ...]:
        return self.case.make_tensors(self.case.batch_size * self.case.steps)

    def make_job(self, model: torch.nn.Module, loader: Any) -> Job:
        job = Job(model, loader, epochs=FOREVER, device=self.device, bf16=self.bf16)
        job.clock, job.transform = self.clock, self.case.make_transform()
        return job


def train_limit(setup: Setup) -> None:
    torch.backends.cudnn.benchmark = True
    case, model, tensors = setup.case, setup.case.make_model(), setup.make_tensors()
    if case.is_pictures:
        model = model.to(memory_format=torch.channels_last)
    if setup.compiles:
        model.compile()
    gathered = GatheredBatches(tensors, case.batch_size, is_pinned=setup.device.type != "cpu")
    resident = ResidentBatches(tensors, case, setup.device)
    limit(setup.make_job(model, Switch(setup.clock, gathered, resident)))


def train_ours(setup: Setup) -> None:
    from tests.helpers import make_trainer

    case, clock = setup.case, setup.clock
    loader_args = {"case": setup.name, "is_smoke": setup.is_smoke}
    config = {
        "name": "device",
        "n_gpu": 0 if setup.device.type == "cpu" else 1,
        "arch": case.arch,
        "data_loader": {"type": "benchmark.CaseLoader", "args": loader_args},
        "optimizer": {"type": "Adam", "args": {"lr": LR}},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "trainer": {
            "epochs": FOREVER,
            "save_dir": str(setup.folder),
            "precision": "bf16" if setup.bf16 else "fp32",
            "compile": setup.compiles,
            "channels_last": case.is_pictures,
            "deterministic": False,
        },
    }
    trainer = make_trainer(config)
    real, batches = trainer.data_loader, trainer.batches
    resident = Augmented(ResidentBatches(real.tensors, case, setup.device), real)
    trainer.batches = lambda epoch: clock.watch(batches(epoch))
    for epoch in itertools.count(1):
        clock.begin()
        trainer.data_loader = resident if clock.word == "resident" else real
        trainer.progress.epoch, trainer.progress.batch = epoch, 0
        trainer._train_epoch(epoch)
        clock.end()


def train_peer(arm: str, setup: Setup) -> None:
    """Trains with another framework. Its loader reads a batch in one piece, as ours does."""
    batches = GatheredBatches(setup.make_tensors(), setup.case.batch_size)
    is_pinned = setup.device.type != "cpu"
    loader: Any = DataLoader(batches, batch_size=None, pin_memory=is_pinned)
    ARMS[arm](setup.make_job(setup.case.make_model(), loader))


def open_answers() -> Any:
    """Returns a function that writes JSON to standard output, which nothing else reaches now."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda figures: print(json.dumps(figures), file=answers, flush=True)


def describe(device: torch.device) -> dict[str, str]:
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def main(arm: str, name: str, device_name: str, folder: str, *flags: str) -> None:
    """Trains until standard input ends. The flags are ``compile`` and ``smoke``."""
    answer = open_answers()
    add_to_project()
    device, is_smoke = torch.device(device_name), "smoke" in flags
    case = get_case(name, is_smoke)
    if device.type == "cpu":  # threads of a smoke test would wait for busy cores
        torch.set_num_threads(1)
    torch.zeros(1, device=device)
    answer(describe(device))
    clock = TurnClock(answer, device, case)
    setup = Setup(name, case, device, Path(folder), "compile" in flags, is_smoke, clock)
    if arm in ARMS:
        train_peer(arm, setup)
    else:
        {"limit": train_limit, "ours": train_ours}[arm](setup)


if __name__ == "__main__":
    main(*sys.argv[1:])
