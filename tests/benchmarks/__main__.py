"""All benchmarks: ``make bench``, or ``python -m tests.benchmarks [NAME …] [FOLDER]``.

A name is that of a file in this folder, such as ``step`` or ``mnist``; by default, all run. FOLDER
contains torchvision's ``MNIST/raw``. Everything takes about 40 minutes on two cores. Other work on
the machine changes the figures.

``python -m tests.benchmarks --device cuda [OPTION …]`` measures steps on an accelerator instead, in
about three minutes: ``device.py``. ``--help`` after the device lists its options.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BENCHMARKS = (
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
PACKAGES = ("torch", "lightning", "accelerate", "pytorch-ignite")


def describe_machine() -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    python = f"Python {platform.python_version()}"
    return ", ".join([platform.machine(), f"{os.cpu_count()} cores", python, *versions])


def main(words: list[str]) -> None:
    if words[:1] == ["--device"] and len(words) > 1:
        from tests.benchmarks.device import main as measure_device

        sys.exit(measure_device(words[1], words[2:]))
    for word in words:
        if word not in BENCHMARKS and not Path(word, "MNIST", "raw").is_dir():
            choices = ", ".join(BENCHMARKS)
            sys.exit(f"{word} is neither a benchmark ({choices}) nor a folder with MNIST/raw")
    print(describe_machine())
    folders = [word for word in words if word not in BENCHMARKS]
    for name in [word for word in words if word in BENCHMARKS] or BENCHMARKS:
        print(f"\n## {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
        subprocess.run(command + (folders if name == "mnist" else []), check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
