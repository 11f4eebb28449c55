"""Runs the accelerator tests and the benchmarks within a time limit, and collects the results.

``run.sh`` calls it. It needs nothing but Python's own library, so it can also report that the rest
is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.accelerator.results import to_text

ROOT = Path(__file__).parent.parent.parent
FOLDER = "tests/accelerator"
TEST_SECONDS = 100.0  # of one test; then its process is killed, and the next test starts
INSTALL_SECONDS = 120.0
INSTALL_TORCH_SECONDS = 240.0
BENCHMARK_SECONDS = 110.0  # that the tests leave to the benchmarks
MARGIN_SECONDS = 5.0
MAX_STARTS = 12  # of processes of tests; each test that kills its process costs one
MODULES = {  # what the tests import, and the package that has it
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "PIL": "pillow",
    "pytest": "pytest",
    "yaml": "pyyaml",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "scipy": "scipy",
    "tensorboard": "tensorboard",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
}
DESCRIBE = """
import json, platform, torch
device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
module = None if device is None else getattr(torch, device.type)
name = getattr(module, "get_device_name", lambda: device and device.type)()
cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
print(json.dumps({"device": name, "type": device and device.type, "torch": torch.__version__,
    "cuda": torch.version.cuda, "cudnn": cudnn, "python": platform.python_version(),
    "machine": platform.platform()}))
"""


def run(words: list[str], seconds: float, **environment: str) -> tuple[int | None, str]:
    """Runs a command in this project; returns its status (None after ``seconds``) and output.

    A command that is too slow is killed with all processes that it has started.
    """
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=max(1.0, seconds))
        return process.returncode, output
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


def get_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(seconds: float) -> dict[str, Any]:
    """Installs missing packages, if that is possible. The torch that is there stays as it is."""
    missing = sorted(package for module, package in MODULES.items() if find_spec(module) is None)
    torch = get_version("torch")
    if torch is None:
        missing = ["torch>=2.10", *missing]
    if not missing:
        return {"missing": [], "status": 0, "output": ""}
    words = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *missing]
    words += ["--retries", "1", "--timeout", "10", "--quiet"]
    with contextlib.ExitStack() as stack:
        if torch is not None:  # a package that needs another torch is not installed
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".txt"))
            file.write(f"torch=={torch}\n")
            file.flush()
            words += ["--constraint", file.name]
        status, output = run(words, seconds)
    return {"missing": missing, "status": status, "output": output[-2000:]}


def describe() -> dict[str, Any]:
    """The card, the driver and the versions; what cannot be found out is None."""
    found: dict[str, Any] = {"date": datetime.now().astimezone().isoformat(timespec="seconds")}
    commit = first_line(["git", "rev-parse", "--short", "HEAD"])
    found["commit"] = commit or os.environ.get("COMMIT")  # a copy may have no git
    found["changes"] = first_line(["git", "status", "--porcelain"])
    query = "--query-gpu=name,driver_version"
    words = ["nvidia-smi", query, "--format=csv,noheader"]
    found["card"], _, found["driver"] = (first_line(words) or "").partition(", ")
    found["stand_in"] = os.environ.get("ACCELERATOR_STAND_IN", "")
    status, output = run([sys.executable, "-c", DESCRIBE], 60)
    with contextlib.suppress(ValueError, IndexError):
        found |= json.loads(output.strip().splitlines()[-1])
    if status != 0:
        found["torch_error"] = output[-2000:]
    return found


def first_line(words: list[str]) -> str | None:
    try:
        status, output = run(words, 20)
    except OSError:
        return None
    lines = output.strip().splitlines()
    return lines[0].strip() if status == 0 and lines else None


class Tests:
    """Runs the tests, as far as the time allows, in as few processes as possible.

    A process that hangs or dies is replaced by one that goes on after the test it was in.

    Args:
        record: a file, to which the process of the tests adds a line for each start and end.
        words: the arguments of pytest that choose the tests.
    """

    def __init__(self, record: Path, words: list[str]) -> None:
        self.record, self.words = record, words
        self.notes: list[str] = []  # on processes that died

    def run(self, end: float) -> None:
        for _ in range(MAX_STARTS):
            if time.monotonic() > end or self._run_process(end):
                return

    def read(self) -> list[dict[str, Any]]:
        """The results so far."""
        return [line for line in self._read_lines() if "outcome" in line]

    def _read_lines(self) -> list[dict[str, Any]]:
        if not self.record.is_file():
            return []
        return [json.loads(line) for line in self.record.read_text("utf-8").splitlines()]

    def _run_process(self, end: float) -> bool:
        """Runs the tests that are left; returns whether all of them have ended."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-q", "-m", "", "-o", f"faulthandler_timeout={TEST_SECONDS - 5}"]
        environment = {**os.environ, "ACCELERATOR_RECORD": str(self.record)}
        log = self.record.with_suffix(".log")
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [*command, *self.words],
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            reason = self._wait(process, end)
        output = log.read_text("utf-8", errors="replace")
        log.unlink()
        if reason == "" and process.returncode in (0, 1, 5):  # 5: no test was left
            return True
        reason = reason or f"the process of the tests ended with status {process.returncode}"
        self._blame(reason, output[-8000:])
        return False

    def _wait(self, process: subprocess.Popen[bytes], end: float) -> str:
        """Waits for the end of the process; kills it and says why if a test takes too long."""
        last_size, last_time, reason = -1, time.monotonic(), ""
        while process.poll() is None:
            size = self.record.stat().st_size if self.record.is_file() else 0
            if size != last_size:
                last_size, last_time = size, time.monotonic()
            if time.monotonic() > end:
                reason = "the time for the tests is over"
            elif time.monotonic() - last_time > TEST_SECONDS:
                reason = f"not done after {TEST_SECONDS:g} s"
            if reason:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.1)
        return reason

    def _blame(self, reason: str, output: str) -> None:
        """Notes the death of a process as the result of the test that it was in."""
        lines = self._read_lines()
        if lines and "outcome" not in lines[-1]:
            result = {"name": lines[-1]["name"], "outcome": "failed", "seconds": None}
            with self.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result | {"text": f"{reason}\n{output}"}) + "\n")
        else:
            self.notes.append(f"{reason}\n{output}")


def run_benchmarks(device: str, seconds: float, file: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.benchmarks", "--device", device]
    words += ["--seconds", f"{seconds - 2 * MARGIN_SECONDS:.0f}", "--json", str(file)]
    start = time.monotonic()
    status, output = run(words, seconds)
    found: dict[str, Any] = {"status": status, "output": output[-20_000:]}
    with contextlib.suppress(OSError, ValueError):
        found["figures"] = json.loads(file.read_text("utf-8"))
    file.unlink(missing_ok=True)
    return found | {"seconds": round(time.monotonic() - start, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for results.txt and results.json")
    parser.add_argument("--seconds", type=float, default=480.0, help="limit for everything")
    parser.add_argument("--tests", nargs="*", default=[FOLDER], help="arguments of pytest")
    parser.add_argument("--no-benchmarks", action="store_true")
    args = parser.parse_args()
    start = time.monotonic()
    folder: Path = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    end = start + args.seconds - MARGIN_SECONDS
    record = folder / "record.jsonl"
    record.unlink(missing_ok=True)
    tests = Tests(record, args.tests)
    found: dict[str, Any] = {"benchmarks": None}
    has_torch = get_version("torch") is not None
    found["install"] = install(INSTALL_SECONDS if has_torch else INSTALL_TORCH_SECONDS)
    found["machine"] = describe()
    device = found["machine"]["stand_in"] or found["machine"].get("type")
    for part in ("tests", "benchmarks"):
        if part == "tests":
            tests.run(end if args.no_benchmarks else end - BENCHMARK_SECONDS)
        elif device and not args.no_benchmarks:
            seconds = end - time.monotonic()
            found["benchmarks"] = run_benchmarks(device, seconds, folder / "benchmarks.json")
        found |= {"tests": tests.read(), "notes": tests.notes}
        found["seconds"] = round(time.monotonic() - start, 1)
        (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (folder / "results.txt").write_text(to_text(found), "utf-8")
    record.unlink(missing_ok=True)
    print((folder / "results.txt").read_text("utf-8"))
    return int(any(result["outcome"] == "failed" for result in found["tests"]))


if __name__ == "__main__":
    sys.exit(main())
