"""What a search or a repetition is going to take is said before it starts."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from base.groups.options import RepeatOptions, SearchOptions
from base.groups.plan.estimate import Estimate, describe_plan, describe_space, estimate
from base.groups.plan.space import Choices, Range, Space
from base.tools.measurement import VARIABLE, Measurement
from utils.errors import UserError

MEASURED = Measurement(
    batches=20,
    epochs=15,
    batch_seconds=0.01,
    validations=15,
    validation_seconds=0.1,
    saves=15,
    save_seconds=0.02,
    started=0,
)
FOUND = Estimate(MEASURED, start_seconds=5.2)
SPACE: Space = {"lr": Range(0.0, 1.0, step=0.5), "bs": Choices([32, 64]), "a": Choices([1, 2])}


def make_command(tmp_path: Path, *lines: str) -> list[str]:
    """Returns a command that runs these lines of Python in place of ``train.py``."""
    script = tmp_path / "program.py"
    script.write_text("\n".join(["import json, os, sys", *lines]))
    return [sys.executable, str(script)]


def test_the_check_of_a_run_is_its_measurement(tmp_path: Path) -> None:
    values = json.dumps(asdict(MEASURED) | {"started": time.time() + 1000})
    command = make_command(
        tmp_path,
        "assert sys.argv[1:] == ['--check']",
        f"open(os.environ['{VARIABLE}'], 'w').write('{values}')",
    )
    found = estimate(command)
    assert found.measurement.batches == 20
    assert 990 < found.start_seconds < 1010
    assert found.seconds == pytest.approx(found.start_seconds + 20 * 15 * 0.01 + 1.5 + 0.3)


def test_a_check_that_fails_is_the_error(tmp_path: Path) -> None:
    lines = ["print('a.yaml:3: arch: no', file=sys.stderr)", "print('  here', file=sys.stderr)"]
    with pytest.raises(UserError) as caught:
        estimate(make_command(tmp_path, *lines, "sys.exit(2)"))
    assert str(caught.value) == "a.yaml:3: arch: no\n  here"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("raise ValueError('bad')", "train.py --check failed:\nValueError: bad"),
        ("os.kill(os.getpid(), 9)", "train.py --check was killed by signal 9"),
        ("sys.exit(3)", "train.py --check ended with status 3"),
    ],
)
def test_a_check_that_breaks_is_an_error_of_few_lines(tmp_path: Path, line: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        estimate(make_command(tmp_path, line))
    assert str(caught.value) == text


# -- in words --------------------------------------------------------------------------------------


def test_the_plan_of_a_grid_has_its_size_and_its_time() -> None:
    search = SearchOptions(dict.fromkeys(SPACE), sampler="grid")
    assert describe_plan(search, None, SPACE, FOUND) == [
        "A grid of 3 x 2 x 2 = 12 trials.",
        "About 2 min 00 s with 1 job, if no run stops early. A run takes 10.0 s: 5.2 s to start, "
        "and 15 epochs of 20 batches at 0.0100 s a batch.",
    ]


def test_the_plan_counts_one_pass_if_features_are_cached() -> None:
    found = FOUND._replace(measurement=Measurement(**asdict(MEASURED) | {"is_cached": True}))
    (_, line) = describe_plan(None, RepeatOptions(seeds=2), {}, found)
    assert line == (
        "About 11.6 s with 1 job, if no run stops early. A run takes 5.8 s: 5.2 s to start, and "
        "1 pass of 20 batches at 0.0100 s a batch; later epochs use cached features."
    )


def test_the_plan_of_a_search_counts_all_its_runs() -> None:
    search = SearchOptions(dict.fromkeys(SPACE), trials=40)
    repeat = RepeatOptions(seeds=[1, 2], folds=5)
    lines = describe_plan(search, repeat, SPACE, FOUND, jobs=2)
    assert lines[:2] == ["40 trials over 3 keys.", "40 trials of 2 seeds x 5 folds: 400 runs."]
    assert lines[2].startswith("About 33 min 20 s with 2 jobs, if no run stops early.")


def test_the_plan_of_a_repetition_counts_its_runs() -> None:
    assert describe_plan(None, RepeatOptions(seeds=5), {}) == ["5 seeds: 5 runs."]
    assert describe_plan(None, RepeatOptions(folds=3), {}) == ["3 folds: 3 runs."]


def test_a_shortened_grid_says_which_points_are_tried() -> None:
    search = SearchOptions(dict.fromkeys(SPACE), sampler="grid", trials=5)
    (line,) = describe_plan(search, None, SPACE)
    assert line == "A grid of 3 x 2 x 2 = 12 points, of which the first 5 are tried."


def test_data_without_a_length_gives_no_time() -> None:
    found = FOUND._replace(measurement=Measurement(**asdict(MEASURED) | {"batches": None}))
    (line,) = describe_plan(None, None, {}, found)
    assert line == "The data has no length, so the time is unknown: 0.0100 s a batch."


def test_the_space_is_described_key_by_key() -> None:
    space: Space = {
        "lr": Range(1e-4, 0.1, log=True),
        "n": Range(1, 9, is_integer=True),
        "arch": Choices([{"type": "A", "args": {"b": 1}}, None]),
    }
    assert describe_space(space) == [
        "lr: from 0.0001 to 0.1, on a logarithmic scale",
        "n: integers from 1 to 9",
        "arch: A(b=1), null",
    ]


def test_a_check_that_a_signal_ends_removes_its_files(tmp_path: Path) -> None:
    files = tmp_path / "files"
    command = make_command(
        tmp_path,
        "import signal, time",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))",
        "try:",
        f"    os.mkdir({str(files)!r})",
        "    time.sleep(60)",
        "finally:",
        f"    os.rmdir({str(files)!r})",
    )

    def interrupt() -> None:
        while not files.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        estimate(command)
    assert not files.exists()


def test_a_check_may_write_any_bytes(tmp_path: Path) -> None:
    command = make_command(tmp_path, "os.write(2, bytes([255, 10]))", "sys.exit(2)")
    with pytest.raises(UserError):
        estimate(command)
