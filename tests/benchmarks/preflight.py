"""What looking at a config costs: ``python -m tests.benchmarks.preflight``. Medians of fresh processes, in turns."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.helpers import ROOT
from tests.test_shipped_configs import SHIPPED

ROUNDS = 7
READ = "from config.read.merge import find_config, load_tree; from config import ConfigParser; "
READ += "parser = ConfigParser(load_tree(find_config('{name}')))"
CHECK = "import time, torch, torchvision, torchmetrics, sklearn.datasets, torch.utils.tensorboard; import trainer, base; "
CHECK += READ + "; start = time.perf_counter(); parser.check(); print(time.perf_counter() - start)"


def seconds(code: str) -> tuple[float, float]:
    """The whole process's time, and the number that it prints."""
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
            reading[name].append(seconds(READ.format(name=name))[0])
            checking[name].append(seconds(CHECK.replace("{name}", name))[1])
    print(f"{'seconds':26} process without torch    check, when all that it needs is imported")
    for name in SHIPPED:
        print(
            f"{name:26} {statistics.median(reading[name]):>10.3f} {statistics.median(checking[name]):>30.3f}"
        )


if __name__ == "__main__":
    main()
