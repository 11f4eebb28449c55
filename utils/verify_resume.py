"""Checks that a run of yours survives being killed.

``python -m utils.verify_resume -c CONFIG --kills 5`` trains twice: once without a stop, and once
with kills at random moments, each followed by a resume. At least one kill hits a run that has
resumed, if ``--kills`` is 2 or more. Both must end in the same state to the bit.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.checkpoints import list_checkpoints
from utils.errors import UserError
from utils.main import run_main

ROOT = Path(__file__).parent.parent
CLOCK_KEYS = ("seconds",)  # of a line of metrics.jsonl: they differ from run to run
MAX_SHOWN = 5  # values that differ
MAX_TRIES = 10  # to kill a run that ends before its kills
POLL_SECONDS = 0.02


def find_differences(a: object, b: object, path: str = "") -> Iterator[str]:
    """The paths of the values that differ between two states in even one bit.

    Args:
        a: nested dicts, lists and tuples of tensors and plain values.
        b: the same.
        path: where ``a`` and ``b`` are in the states that are compared.
    """
    import torch

    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            yield from find_differences(a.get(key), b.get(key), f"{path}/{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for index, (value, other) in enumerate(zip(a, b, strict=True)):
            yield from find_differences(value, other, f"{path}/{index}")
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        bits = [tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in (a, b)]
        if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(*bits):
            yield path
    elif type(a) is not type(b) or (a != b and not (a != a and b != b)):  # NaN equals NaN here
        yield path


def start_training(*words: str) -> subprocess.Popen[str]:
    """Starts ``train.py`` with these arguments."""
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(training: subprocess.Popen[str], timeout: float | None = None) -> None:
    """Waits until the training has ended.

    Raises:
        UserError: it failed; the text holds the last lines of its output.
        subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
    """
    output, _ = training.communicate(timeout=timeout)
    if training.returncode:
        last_lines = "\n".join(output.splitlines()[-5:])
        raise UserError(f"train.py ended with status {training.returncode}:\n{last_lines}")


def is_running_after(
    training: subprocess.Popen[str], seconds: float, folder: Path | None = None
) -> bool:
    """Waits for some time; returns whether the training still runs.

    Args:
        training: the process.
        seconds: how long to wait.
        folder: of the run; the wait ends at the first new checkpoint in it. None waits in full.

    Raises:
        UserError: the training has failed.
    """
    known = set() if folder is None else set(list_checkpoints(folder))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            wait_for(training, left if folder is None else min(left, POLL_SECONDS))
            return False
        except subprocess.TimeoutExpired:
            if folder is not None and set(list_checkpoints(folder)) - known:
                return True
    return True


def train_with_kills(
    words: list[str], folder: Path, duration: float, max_kills: int, rng: random.Random
) -> Iterator[tuple[float, bool]]:
    """Trains, kills the training at random moments, and resumes it until it ends.

    The first process that has resumed is killed soon after its first checkpoint. So the run is
    killed twice in a row, and continues from a state that a resumed process has saved.

    Args:
        words: the arguments of ``train.py``.
        folder: the run's folder.
        duration: the seconds that an undisturbed training takes.
        max_kills: the most kills; a training that ends before its kill is the last one.
        rng: chooses the moments.

    Yields:
        The moment of each kill, in seconds since the start of the process that was killed, and
        whether this process had resumed the run.
    """
    was_killed_twice = False
    for kills_left in range(max_kills, -1, -1):
        is_resumed = folder.is_dir() and bool(list_checkpoints(folder))
        start = time.monotonic()
        training = start_training(*(["-r", str(folder)] if is_resumed else words))
        if not kills_left:
            wait_for(training)
            return
        waits: list[tuple[float, Path | None]] = [(rng.uniform(0.2, 1.0) * duration, None)]
        if is_resumed and not was_killed_twice:
            waits = [(duration, folder), (rng.uniform(0.0, 0.1) * duration, None)]
        if not all(is_running_after(training, *wait) for wait in waits):
            return
        training.kill()
        training.communicate()
        was_killed_twice |= is_resumed
        yield time.monotonic() - start, is_resumed


def load_result(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The newest checkpoint of a run, and the lines of its metrics.jsonl without clock times."""
    import torch

    state = torch.load(list_checkpoints(folder)[0], map_location="cpu", weights_only=True)
    lines = []
    for text in (folder / "log" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        lines.append({key: value for key, value in line.items() if key not in CLOCK_KEYS})
    return state, lines


def verify(args: argparse.Namespace, save_dir: Path) -> list[str]:
    """Trains without kills and with at least one (unless ``args.kills`` is 0).

    Returns:
        The paths of the values that differ at the end.
    """
    options = {
        "epochs": args.epochs,
        "save_steps": args.save_steps,
        "save_dir": save_dir,
        "keep_last": 3,
        "sharded_checkpoint": False,  # only plain checkpoints can be compared
    }
    configs = args.config if args.config else ["config.json"]
    words = [word for config in configs for word in ("-c", config)]
    words += [*args.overrides, "name=verify"]
    words += [f"trainer.{key}={value}" for key, value in options.items()]
    start = time.monotonic()
    wait_for(start_training(*words, "--run-id", "straight"))
    duration = time.monotonic() - start
    print(f"Without a kill: {args.epochs} epochs in {duration:.1f} s.")

    straight, killed = (save_dir / "verify" / name for name in ("straight", "killed"))
    words += ["--run-id", "killed"]
    rng = random.Random(args.seed)
    kills = list(train_with_kills(words, killed, duration, args.kills, rng))
    for _ in range(MAX_TRIES):  # the training may be quicker this time: kill it earlier
        if any(is_resumed for _, is_resumed in kills) or len(kills) >= args.kills:
            break
        shutil.rmtree(killed, ignore_errors=True)
        duration *= 0.7
        kills = list(train_with_kills(words, killed, duration, args.kills, rng))
    print(describe_kills(kills))

    state, lines = load_result(straight)
    other_state, other_lines = load_result(killed)
    differences = list(find_differences(lines, other_lines, "metrics.jsonl"))
    return differences + list(find_differences(state, other_state))


def describe_kills(kills: list[tuple[float, bool]]) -> str:
    """What was done to the training, for the terminal."""
    shown = ", ".join(f"{moment:.1f}" for moment, _ in kills)
    times = "time" if len(kills) == 1 else "times"
    text = f"Killed {len(kills)} {times}" + (f", after {shown} s" if kills else "")
    n_resumed = sum(is_resumed for _, is_resumed in kills)
    return text + (f"; {n_resumed} of these processes had resumed." if n_resumed else ".")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.verify_resume",
        description="Checks that a run of yours survives being killed: it trains once without a "
        "stop and once with kills, and compares all bits of the results.",
    )
    help_text = "config file; a later -c wins (default: config.json)"
    parser.add_argument("-c", "--config", action="append", help=help_text)
    parser.add_argument("--kills", type=int, default=5, help="how often to kill the training")
    parser.add_argument("--epochs", type=int, default=3, help="how many epochs to train")
    parser.add_argument(
        "--save-steps", type=int, default=10, help="optimizer steps between two checkpoints"
    )
    parser.add_argument("--seed", type=int, help="chooses the moments of the kills")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py")
    return parser.parse_intermixed_args()


def main() -> int:
    """The program. Returns its exit status: 1 if the results differ."""
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        differences = verify(args, Path(folder))
    if differences:
        shown = ", ".join(differences[:MAX_SHOWN])
        print(f"NOT the same: {len(differences)} values differ, the first of them are {shown}")
        return 1
    print(
        "The same to the bit: weights, optimizer, schedule, random numbers, order of the data, "
        "and every line of metrics.jsonl."
    )
    return 0


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
