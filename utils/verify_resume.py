"""Does a run of yours survive being killed? ``python -m utils.verify_resume -c CONFIG --kills 5``."""

from __future__ import annotations

import argparse
import json
import random
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
CLOCKS = ("seconds",)  # of a line of metrics.jsonl


def differences(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """The places at which two states differ in even one bit."""
    import torch

    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            yield from differences(a.get(key), b.get(key), f"{where}/{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from differences(one, other, f"{where}/{index}")
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        bits = [tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in (a, b)]
        if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(*bits):
            yield where
    elif type(a) is not type(b) or (a != b and not (a != a and b != b)):
        yield where


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], seconds: float | None = None) -> None:
    """Waits for its end. Raises UserError with its last lines if it failed, TimeoutExpired after so many seconds."""
    output, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise UserError(
            f"train.py ended with status {process.returncode}:\n"
            + "\n".join(output.splitlines()[-5:])
        )


def killed(
    words: list[str], folder: Path, seconds: float, kills: int, chance: random.Random
) -> Iterator[float]:
    """Trains with as many kills as there is time for; gives the moment of each, in seconds since its start."""
    for left in range(kills, -1, -1):
        resumable = folder.is_dir() and bool(list_checkpoints(folder))
        process = start(*(["-r", str(folder)] if resumable else words))
        after = chance.uniform(0.2, 1.0) * seconds
        try:
            finish(process, after if left else None)
            return
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            yield after


def result(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The newest checkpoint of a run, and its metric lines without the clock's numbers."""
    import torch

    state = torch.load(list_checkpoints(folder)[0], map_location="cpu", weights_only=True)
    lines = map(
        json.loads, (folder / "log" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    )
    return state, [
        {key: value for key, value in line.items() if key not in CLOCKS} for line in lines
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m utils.verify_resume", description=__doc__)
    parser.add_argument("-c", "--config", default="config.json")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--save-steps", type=int, default=10, help="a checkpoint every so many optimizer steps"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="verify-") as home:
        options = {
            "epochs": args.epochs,
            "save_steps": args.save_steps,
            "save_dir": home,
            "keep_last": 3,
        }
        options["sharded_checkpoint"] = False  # its checkpoints are compared as one file
        words = ["-c", args.config, *args.overrides, "name=verify"]
        words += [f"trainer.{key}={value}" for key, value in options.items()]
        began = time.monotonic()
        finish(start(*words, "--run-id", "straight"))
        seconds = time.monotonic() - began
        print(f"Without a stop: {args.epochs} epochs in {seconds:.1f} s.")
        folders = [Path(home, "verify", name) for name in ("straight", "killed")]
        chance = random.Random(args.seed)
        moments = list(
            killed([*words, "--run-id", "killed"], folders[1], seconds, args.kills, chance)
        )
        print(
            f"Killed {len(moments)} times, after {', '.join(f'{moment:.1f}' for moment in moments)} s."
        )
        (state, lines), (other_state, other_lines) = map(result, folders)
    found = [*differences(lines, other_lines, "metrics.jsonl"), *differences(state, other_state)]
    if found:
        print(f"NOT the same: {len(found)} values differ, the first of them {', '.join(found[:5])}")
        return 1
    print(
        "The same to the bit: weights, optimizer, schedule, random numbers, order, and every line of metrics.jsonl."
    )
    return 0


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
