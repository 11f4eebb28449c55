"""How long reading and checking a config takes: ``python -m tests.benchmarks.preflight``.

Each figure is the median of new processes, which take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.helpers import ROOT
from tests.test_shipped_configs import SHIPPED

ROUNDS = 7
READ = """\
from config import ConfigParser
from config.read.merge import find_config, load_tree
parser = ConfigParser(load_tree(find_config("{name}")))
"""
CHECK = f"""\
import time, torch, torchvision, torchmetrics, sklearn.datasets, torch.utils.tensorboard
import trainer, base
from base.schema import SCHEMA
{READ}
start = time.perf_counter()
parser.check(SCHEMA)
print(time.perf_counter() - start)
"""


def measure(code: str) -> tuple[float, float]:
    """Returns the seconds of a process that runs ``code``, and the number that it prints."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, float(done.stdout or 0)


def main() -> None:
    reading: dict[str, list[float]] = {name: [] for name in SHIPPED}
    checking: dict[str, list[float]] = {name: [] for name in SHIPPED}
    for _ in range(ROUNDS):
        for name in SHIPPED:
            reading[name].append(measure(READ.format(name=name))[0])
            checking[name].append(measure(CHECK.format(name=name))[1])
    print(f"{'seconds':26} {'read, a process without torch':>30} {'check, after the imports':>30}")
    for name in SHIPPED:
        times = [statistics.median(kind[name]) for kind in (reading, checking)]
        print(f"{name:26} {times[0]:>30.3f} {times[1]:>30.3f}")


if __name__ == "__main__":
    main()
