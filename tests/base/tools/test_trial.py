"""An error in a trial names the section of the config, and the lines of the user's own files."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.base.tools.probe import CONFIG
from tests.base.tools.programs import Ended

DATA = "{type: DatasetLoader, args: {dataset: {type: probe.Broken}, batch_size: 32"
WITHOUT_WORKERS = f"{DATA}, num_workers: 0}}}}"
WITH_WORKERS = f"{DATA}, num_workers: 2}}}}"
TRANSFORM = (
    "{type: DatasetLoader, args: {dataset:"
    " {type: FakeData, args: {size: 99, transform: {type: probe.BrokenTransform}}}}}"
)


class Mistake(NamedTuple):
    """A section with a mistake, and what the error must name.

    Attributes:
        section: in YAML, for its line in CONFIG.
        key: of the config.
        message: how the error begins.
        folder: of the user's line.
    """

    section: str
    key: str
    message: str
    folder: str


def broken_init(error: str, message: str) -> Mistake:
    section = f"arch: {{type: probe.BrokenInit, args: {{error: {error}}}}}"
    return Mistake(section, "arch", f"{error}: {message}", "model")


MISTAKES = [
    broken_init("AttributeError", "of mine"),
    broken_init("KeyError", "'of mine'"),
    broken_init("RuntimeError", "of mine"),
    broken_init("ZeroDivisionError", "of"),
    Mistake(
        "arch: {type: probe.BrokenForward}",
        "arch",
        "AttributeError: 'BrokenForward' object has no attr",
        "model",
    ),
    Mistake(
        "arch: {type: resnet18}", "arch", "RuntimeError: Given groups=1, weight of size", "trainer"
    ),
    Mistake(f"data_loader: {WITHOUT_WORKERS}", "data_loader", "KeyError: 'of mine'", "data_loader"),
    Mistake(f"data_loader: {WITH_WORKERS}", "data_loader", "KeyError: ", "data_loader"),
    Mistake(
        f"valid_data_loader: {WITHOUT_WORKERS}",
        "valid_data_loader",
        "KeyError: 'of mine'",
        "data_loader",
    ),
    Mistake(f"data_loader: {TRANSFORM}", "data_loader", "ValueError: of mine", "data_loader"),
    Mistake("loss: probe.broken_loss", "loss", "RuntimeError: of mine", "model"),
    Mistake(
        "metrics: [accuracy, probe.broken_metric]",
        "metrics.1",
        "the metric 'broken_metric' failed on output (128, 10) float32 and target (128,) int64: "
        "ZeroDivisionError: division by zero",
        "model",
    ),
    Mistake(
        "trainer: {epochs: 3, type: probe.Broken}", "trainer", "AttributeError: of mine", "trainer"
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.section)
def test_an_error_names_the_section_and_the_user_s_lines(
    check: Callable[..., Ended], tmp_path: Path, mistake: Mistake
) -> None:
    name = mistake.section.partition(":")[0]
    sections = [line for line in CONFIG.splitlines() if not line.startswith(f"{name}:")]
    if name == "valid_data_loader":  # it replaces the split
        sections = [line.replace(", validation_split: 0.2", "") for line in sections]
    config = tmp_path / "probe.yaml"
    config.write_text("\n".join([*sections, mistake.section]))
    column = 1
    if mistake.key == "metrics.1":
        column = mistake.section.index("probe.broken_metric") + 1
    ended = check()
    first, *frames = ended.err.splitlines()
    assert (ended.status, ended.out, "Traceback" in ended.err) == (2, "", False)
    position = f"{config}:{len(sections) + 1}:{column}"
    assert first.startswith(f"{position}: {mistake.key}: {mistake.message}")
    assert f"  {mistake.folder}/" in ended.err
    frame = re.compile(r"  (model|data_loader|trainer)/\w+\.py:\d+ in \w+: \S")
    assert all(frame.match(line) for line in frames), ended.err


def test_a_failed_trial_leaves_no_workers(check: Callable[..., Ended], tmp_path: Path) -> None:
    """Their loader lives on in the traceback, and its later end would block for 5 s a worker."""
    before = set(multiprocessing.active_children())
    sections = [line for line in CONFIG.splitlines() if not line.startswith("data_loader:")]
    (tmp_path / "probe.yaml").write_text("\n".join([*sections, f"data_loader: {WITH_WORKERS}"]))
    assert check("-c", str(tmp_path / "probe.yaml")).status == 2
    assert set(multiprocessing.active_children()) <= before
