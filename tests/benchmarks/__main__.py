"""All the figures, beside other frameworks: ``make bench``, or ``python -m tests.benchmarks [PART …] [FOLDER]``.

A part is a file of this folder (``step``, ``mnist``, ``start``, …); FOLDER holds torchvision's ``MNIST/raw``. It takes
about 40 minutes on two cores. Whatever else the machine does meanwhile is in the figures.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PARTS = (
    "step",
    "mnist",
    "start",
    "loading",
    "saving",
    "growth",
    "watching",
    "ddp_step",
    "frozen",
    "preflight",
)


def main(words: list[str]) -> None:
    for word in words:
        if word not in PARTS and not Path(word, "MNIST", "raw").is_dir():
            sys.exit(f"{word} is no part ({', '.join(PARTS)}), and no folder with MNIST/raw")
    found = []
    for package in ("torch", "lightning", "accelerate", "pytorch-ignite"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(found)}"
    )
    folders = [word for word in words if word not in PARTS]
    for part in [word for word in words if word in PARTS] or PARTS:
        print(f"\n## {part}", flush=True)
        words_of_part = folders if part == "mnist" else []
        subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{part}", *words_of_part], check=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
