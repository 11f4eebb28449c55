"""From the command to the first optimizer step, the default experiment: ``python -m tests.benchmarks.start [ROUNDS]``.

``limit`` imports torch and the digits, and moves a hand-written model once, without ``torch.optim``; the others train
the default experiment's model, as a tutorial or their guide writes it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[
    2
]  # tests.helpers would be in every arm's time, with all that it imports


def done(*_: Any, **__: Any) -> None:
    print(f"\n{time.time()}", flush=True)  # a line of its own: a bar may stand before it
    os._exit(0)


def limit() -> None:
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (
        torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1),
        torch.tensor(digits.target),
    )
    nn = torch.nn
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10))
    nn.functional.cross_entropy(model(x[:64]), y[:64]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    done()


def ours(folder: Path) -> None:
    import train
    from config import ConfigParser

    make = train.make_trainer

    def timed(*args: Any) -> Any:
        trainer = make(*args)
        trainer.after_step = done
        return trainer

    train.make_trainer = timed
    args = argparse.ArgumentParser()
    for option in ("--config", "--resume", "--device"):
        args.add_argument(option)
    args.set_defaults(check=False, lr_find=False, find_batch_size=False)
    sys.argv = ["train.py", "--config", "config.json", f"trainer.save_dir={folder}"]
    train.main(ConfigParser.from_args(args))


def other(arm: str, folder: Path) -> None:
    import torch
    from sklearn.datasets import load_digits
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils.data import DataLoader, TensorDataset

    from model.model import SmallConvNet
    from tests.benchmarks.peers import ARMS

    register_optimizer_step_post_hook(done)
    digits = load_digits()
    x, y = (
        torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1),
        torch.tensor(digits.target),
    )
    loader = DataLoader(TensorDataset(x, y), 64, shuffle=True)
    ARMS[arm](SmallConvNet(), loader, loader, 1, folder)


def run(arm: str, folder: Path) -> None:
    """One arm, in this process."""
    if arm == "limit":
        limit()
    elif arm == "ours":
        ours(folder)
    else:
        other(arm, folder)


def seconds_of(arm: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "tests.benchmarks.start", "--arm", arm, folder]
        start = time.time()
        finished = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        return float(finished.stdout.split()[-1]) - start


def main(rounds: int = 5) -> None:
    from tests.benchmarks.table import compare

    compare("Command to first step, the default experiment", "s", rounds, seconds_of)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--arm"]:
        run(sys.argv[2], Path(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
