"""The time from the command to the first optimizer step, in the default experiment.

Run it with ``python -m tests.benchmarks.start [ROUNDS]``. ``limit`` imports torch and the digits,
and updates a model by hand once, without ``torch.optim``. The peers train the default experiment's
model as their guides write it. On an accelerator, the step counts when the device has done it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

# Not from tests.helpers, whose imports would count in the time of every arm.
ROOT = Path(__file__).parents[2]


def finish(device: str, *_: Any, **__: Any) -> None:
    """Prints the time and ends the process, after the first step."""
    if device != "cpu":
        import torch

        torch.accelerator.synchronize()
    print(f"\n{time.time()}", flush=True)  # on a new line, because of a progress bar
    os._exit(0)


def load_digits() -> tuple[Any, Any]:
    """Returns the images (N, 1, 8, 8) in float32, and the classes (N,)."""
    import sklearn.datasets
    import torch

    digits = sklearn.datasets.load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(digits.target)


def limit(device: str) -> None:
    import torch
    from torch import nn

    x, y = load_digits()
    x, y = x[:64].to(device), y[:64].to(device)
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10))
    nn.functional.cross_entropy(model.to(device)(x), y).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    finish(device)


def ours(folder: Path, device: str) -> None:
    import train
    from config import ConfigParser

    make_trainer = train.make_trainer

    def make_finishing_trainer(*args: Any) -> Any:
        trainer = make_trainer(*args)
        trainer.after_step = partial(finish, device)
        return trainer

    train.make_trainer = make_finishing_trainer
    args = argparse.ArgumentParser()
    for option in ("--config", "--resume", "--device"):
        args.add_argument(option)
    chosen = "cpu" if device == "cpu" else "0"
    options = ["--config", "config.json", "--device", chosen, f"trainer.save_dir={folder}"]
    sys.argv = ["train.py", *options]
    train.main(ConfigParser.from_args(args), None)


def peer(arm: str, folder: Path, device: str) -> None:
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils.data import DataLoader, TensorDataset

    from model.model import SmallConvNet
    from tests.benchmarks.peers import ARMS, Job

    register_optimizer_step_post_hook(partial(finish, device))
    loader = DataLoader(TensorDataset(*load_digits()), 64, shuffle=True)
    ARMS[arm](Job(SmallConvNet(), loader, loader, 1, folder, torch.device(device)))


def run(arm: str, folder: Path, device: str) -> None:
    """Runs an arm in this process."""
    if arm == "limit":
        limit(device)
    elif arm == "ours":
        ours(folder, device)
    else:
        peer(arm, folder, device)


def measure_seconds(arm: str, device: str = "cpu") -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "tests.benchmarks.start", "--arm", arm, folder, device]
        command = [sys.executable, *words]
        start = time.time()
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return float(finished.stdout.split()[-1]) - start


def main(rounds: int = 5) -> None:
    from tests.benchmarks.table import compare

    compare("Command to first step, the default experiment", "s", rounds, measure_seconds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--arm"]:
        run(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main(*map(int, sys.argv[1:]))
