"""Workers: run tasks side by side, each with its share of the machine, until a signal arrives."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from base.groups.running.group import Group
from base.groups.running.member import SECONDS_BETWEEN_LOOKS, MemberRunner, Signals
from utils.errors import UserError, name_error
from utils.launch import num_cores
from utils.stop import EXIT_STATUS, SIGNALS

Task = Callable[[MemberRunner], None]


class Workers:
    """Threads that run tasks side by side. Each task starts runs by its ``MemberRunner``.

    Args:
        group: whose runs are started.
        num_jobs: the number of threads.

    Attributes:
        signals: what has arrived; the runs get them too.
    """

    def __init__(self, group: Group, num_jobs: int) -> None:
        self.group = group
        self.num_jobs = num_jobs
        self.signals = Signals()
        self._error: BaseException | None = None

    def run(self, take: Callable[[], Task | None]) -> None:
        """Runs tasks until ``take`` has no more, or a signal has ended the runs.

        Args:
            take: returns the next task. Only one thread at a time calls it.

        Raises:
            Exception: one that a task or ``take`` has raised. The other runs are stopped first;
                each has a checkpoint.
        """
        lock = threading.Lock()

        def work(environment: Mapping[str, str]) -> None:
            runner = MemberRunner(self.group, self.signals, environment)
            try:
                while not self.signals.received:
                    with lock:
                        task = take()
                    if task is None:
                        return
                    task(runner)
            except BaseException as error:
                if self.signals.received and self._error is None:  # the program ends anyway
                    logging.getLogger("search").warning("%s", name_error(error))
                    return
                self._error = self._error or error
                self.signals.receive(signal.SIGTERM)

        environments = divide_machine(self.num_jobs, self.group.config.get("n_gpu", 1))
        threads = [threading.Thread(target=work, args=(item,)) for item in environments]
        previous = {number: signal.signal(number, self.signals.receive) for number in SIGNALS}
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # a wait without a timeout would delay the handlers
                    thread.join(SECONDS_BETWEEN_LOOKS)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._error is not None:
            raise self._error

    def exit_if_stopped(self) -> None:
        """Ends the program with the status of the signal, if one has arrived."""
        if self.signals.received:
            sys.exit(EXIT_STATUS[signal.Signals(self.signals.received).name])


def get_num_jobs(config: Any) -> int:
    """Returns the value of ``--jobs``.

    Raises:
        UserError: it is below 1.
    """
    jobs: int = 1 if config.args is None or config.args.jobs is None else config.args.jobs
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: must be at least 1")
    return jobs


def divide_machine(num_jobs: int, n_gpu: int) -> list[dict[str, str]]:
    """Returns for each job the environment that gives it its share of cores and accelerators.

    Args:
        num_jobs: the number of jobs. A single one gets everything.
        n_gpu: the number of accelerators that a run uses.
    """
    if num_jobs == 1:
        return [{}]
    environments: list[dict[str, str]] = [{} for _ in range(num_jobs)]
    if "OMP_NUM_THREADS" not in os.environ:
        for environment in environments:
            environment["OMP_NUM_THREADS"] = str(max(1, num_cores() // num_jobs))
    devices = _list_devices() if n_gpu > 0 else []
    if len(devices) > n_gpu > 0:
        for index, environment in enumerate(environments):
            chosen = [devices[(index * n_gpu + i) % len(devices)] for i in range(n_gpu)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    return environments


def _list_devices() -> list[str]:
    """Lists the names of the accelerators that this program may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible:
        return visible.split(",")
    import torch

    return [str(index) for index in range(torch.accelerator.device_count())]
