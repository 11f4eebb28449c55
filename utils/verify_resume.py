"""Checks that a run of yours survives being killed.

``python -m utils.verify_resume -c CONFIG --kills 5`` trains twice: once without a stop, and once
with kills, each followed by a resume. A kill comes after a checkpoint that the process has written,
which is not the last one of the run. So the second kill hits a run that has resumed. Both must end
in the same state to the bit.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.checkpoints import list_checkpoints
from utils.errors import UserError
from utils.killed_training import Kill, choose_checkpoints, train_straight, train_with_kills
from utils.main import run_main
from utils.world import is_launched

CLOCK_KEYS = ("seconds",)  # of a line of metrics.jsonl: they differ from run to run
MAX_SHOWN = 5  # values that differ
MAX_TRIES = 5  # to kill a run that ends before its kills
NOT_TESTED_STATUS = 3


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


def load_result(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The newest checkpoint of a run, and the lines of its metrics.jsonl without clock times."""
    import torch

    state = torch.load(list_checkpoints(folder)[0], map_location="cpu", weights_only=True)
    lines = []
    for text in (folder / "log" / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        lines.append({key: value for key, value in line.items() if key not in CLOCK_KEYS})
    return state, lines


class NotTestedError(UserError):
    """Nothing differs, but not everything that was asked for was tried."""


def verify(args: argparse.Namespace, save_dir: Path) -> list[str]:
    """Trains without a kill, and with ``args.kills`` of them.

    Returns:
        The paths of the values that differ at the end.

    Raises:
        NotTestedError: none differs, but the kills were fewer.
        UserError: a training has failed by itself.
    """
    words = make_words(args, save_dir)
    straight, killed = (save_dir / "verify" / name for name in ("straight", "killed"))
    start = time.monotonic()
    names, seconds_between = train_straight([*words, "--run-id", "straight"], straight)
    if not names:
        raise NotTestedError("Nothing was tested: the run has written no checkpoint.")
    seconds = time.monotonic() - start
    print(f"Without a kill: {count_checkpoints(len(names))} seen in {seconds:.1f} s.")
    if args.kills > 0 and len(names) == 1:
        raise NotTestedError(explain_missing(0, args.kills, names))

    words += ["--run-id", "killed"]
    rng = random.Random(args.seed)
    most: list[Kill] = []
    for attempt in range(MAX_TRIES):  # a small model may have ended before its kill
        shutil.rmtree(killed, ignore_errors=True)
        targets = choose_checkpoints(names, args.kills, rng)
        delays = [0.0] * len(targets)  # if the first attempt was too late
        if attempt == 0:
            delays = [rng.uniform(0.0, seconds_between) for _ in targets]
        kills = train_with_kills(words, killed, targets, names[-1], delays)
        print(describe_kills(kills))
        if differences := compare(straight, killed):
            return differences
        most = max(most, kills, key=len)
        if len(most) >= min(args.kills, len(names) - 1):
            break
    if len(most) < args.kills:
        raise NotTestedError(explain_missing(len(most), args.kills, names))
    return []


def make_words(args: argparse.Namespace, save_dir: Path) -> list[str]:
    """The arguments of ``train.py``."""
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
    return words + [f"trainer.{key}={value}" for key, value in options.items()]


def compare(straight: Path, killed: Path) -> list[str]:
    """The paths of the values that differ between two runs."""
    state, lines = load_result(straight)
    other_state, other_lines = load_result(killed)
    differences = list(find_differences(lines, other_lines, "metrics.jsonl"))
    return differences + list(find_differences(state, other_state))


def describe_kills(kills: list[Kill]) -> str:
    """Returns a sentence with the number of kills, and the newest checkpoint at each."""
    times = "time" if len(kills) == 1 else "times"
    shown = ", ".join(kill.checkpoint for kill in kills)
    text = f"Killed {len(kills)} {times}" + (f", after {shown}" if kills else "")
    n_resumed = sum(kill.was_resumed for kill in kills)
    return text + (f"; {n_resumed} of these processes had resumed." if n_resumed else ".")


def explain_missing(num_kills: int, wanted: int, names: list[str]) -> str:
    """Why there were fewer kills than wanted, and what to do."""
    result = f"Only {num_kills} of {wanted} kills were tested"
    if num_kills == 0:
        result = "Nothing was tested"
    reason = "the training ended before its kills"
    if len(names) - 1 < wanted:
        written = count_checkpoints(len(names) - 1)
        reason = f"the run has written {written} before the last one, {names[-1]}, and each kill "
        reason += "needs one"
    return f"{result}: {reason}. Raise --epochs, or lower --save-steps."


def count_checkpoints(count: int) -> str:
    """A number of checkpoints in words: ``no checkpoints``, ``1 checkpoint``, …"""
    return "1 checkpoint" if count == 1 else f"{count or 'no'} checkpoints"


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
    parser.add_argument("--seed", type=int, help="chooses where the kills are")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py")
    args = parser.parse_intermixed_args()
    if args.kills < 0:
        parser.error("--kills must not be negative")
    return args


def make_folder() -> tempfile.TemporaryDirectory[str]:
    """A new temporary folder, which its context removes.

    Raises:
        UserError: it cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True)
    except OSError as error:
        message = f"no temporary folder can be made: {error.strerror}"
        raise UserError(f"{message}; set the environment variable TMPDIR to another one") from None


def end_on_hangup() -> None:
    """Lets the end of the terminal remove processes and files, as Ctrl-C does."""
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
        signal.signal(number, lambda *_: sys.exit(128 + number))


def main() -> int:
    """The program. Returns its exit status: 1 if the results differ, 3 if kills are missing."""
    args = parse_args()
    if is_launched():
        message = "verify_resume starts its processes itself; run it without torchrun, and with"
        raise UserError(f"{message} parallel.args.num_processes=N for N processes")
    end_on_hangup()
    try:
        with make_folder() as folder:
            differences = verify(args, Path(folder))
    except NotTestedError as error:
        print(error)
        return NOT_TESTED_STATUS
    if differences:
        shown = ", ".join(differences[:MAX_SHOWN])
        print(f"NOT the same: {len(differences)} values differ, the first of them are {shown}")
        return 1
    if args.kills == 0:
        print("The same to the bit, but nothing was killed: this says nothing about a resume.")
        return 0
    print(
        "The same to the bit: weights, optimizer, schedule, random numbers, order of the data, "
        "and every line of metrics.jsonl."
    )
    return 0


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
