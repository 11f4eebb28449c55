"""Skips everything where there is no accelerator; records and summarises the results."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator.device import DEVICE, FOUND, NO_DEVICE, ON_CPU, free_memory
from tests.accelerator.order import FILES
from tests.base.run_folders import restored_root_logger

RECORD_VARIABLE = "ACCELERATOR_RECORD"  # a file of JSON lines, which one run can continue
FOLDER = "tests/accelerator/"
RESULTS: dict[str, dict[str, Any]] = {}  # by test


def pytest_runtest_setup(item: pytest.Item) -> None:
    if FOUND is None:
        pytest.skip(NO_DEVICE)


@pytest.fixture(autouse=True)
def _clean_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts without handlers of loggers, and with an empty device.

    After some errors, a device refuses all work of the process. Then the process ends, and its
    caller starts another one for the tests that are left.
    """
    with restored_root_logger():
        yield
    if os.environ.get(RECORD_VARIABLE) and not ON_CPU:
        try:
            torch.ones(1, device=DEVICE).item()
        except RuntimeError as error:
            name = request.node.nodeid
            result = RESULTS.get(name, {"name": name, "seconds": None, "text": ""})
            text = f"{result['text']}\nthe device refuses all further work: {error}"
            write_record(result | {"outcome": "failed", "text": text})
            os._exit(3)
    free_memory()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests of this folder; leaves out those that the record holds already."""
    done = {line["name"] for line in read_record() if "outcome" in line}
    places = [index for index, item in enumerate(items) if item.nodeid.startswith(FOLDER)]
    ours = [items[index] for index in places]
    ours.sort(key=lambda item: FILES.index(item.path.name))
    for index, item in zip(places, ours, strict=True):
        items[index] = item
    items[:] = [item for item in items if item.nodeid not in done]
    gc.freeze()  # what the imports have made is garbage in no test


def read_record() -> list[dict[str, Any]]:
    path = Path(os.environ.get(RECORD_VARIABLE, ""))
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_record(line: dict[str, Any]) -> None:
    if path := os.environ.get(RECORD_VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    if nodeid.startswith(FOLDER):
        write_record({"name": nodeid})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up set-up, call and tear-down of a test."""
    if not report.nodeid.startswith(FOLDER):
        return
    result = RESULTS.setdefault(
        report.nodeid, {"name": report.nodeid, "outcome": "passed", "seconds": 0.0, "text": ""}
    )
    result["seconds"] = round(result["seconds"] + report.duration, 2)
    if report.outcome != "passed":
        result["outcome"] = report.outcome
        result["text"] += get_text(report)
    if report.when == "teardown":
        write_record(result)


def get_text(report: pytest.TestReport) -> str:
    """The reason of a skip, or the traceback and the output of a failure."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    sections = [f"\n---- {title}\n{text[-4000:]}" for title, text in report.sections]
    return f"{report.longreprtext}{''.join(sections)}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each test, if any has run."""
    if all(result["outcome"] == "skipped" for result in RESULTS.values()):
        return
    terminalreporter.section(f"accelerator tests on {DEVICE}")
    for name, result in RESULTS.items():
        test = name.removeprefix(FOLDER).removeprefix("test_accelerator_").replace(".py::test", "")
        reason = result["text"].splitlines()[0] if result["outcome"] == "skipped" else ""
        terminalreporter.write_line(
            f"{result['seconds']:7.1f} s  {result['outcome']:<8} {test}  {reason}".rstrip()
        )
