"""Every mistake made in a shipped config is told with its line and key path; ``FUZZ=all`` runs the whole campaign."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from tests.fuzz.known import bases
from tests.fuzz.mutants import Mutant, campaign
from tests.fuzz.render import render
from tests.helpers import ROOT, run
from utils.errors import UserError

ALL = os.environ.get("FUZZ") == "all"
SHARE = 1 if ALL else 8
every_mutant = cache(campaign)
SUGGESTION = re.compile(r"did you mean '([^']*)'")


def read_and_check(config: str, words: tuple[str, ...] = ()) -> None:
    """What train.py does before it makes anything."""
    args = argparse.Namespace(
        config=config, resume=None, device=None, overrides=list(words), run_id="run"
    )
    ConfigParser.from_args(args).check(SCHEMA)


def write(files: dict[str, Any], folder: Path) -> set[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return set(folder.rglob("*"))


def right_lines(mutant: Mutant, lines: list[str]) -> list[str]:
    """Those of the lines that tell the mutant's mistake at its right place."""
    paths = "|".join(f"{re.escape(path)}: " for path in mutant.paths)
    value = ".*" if mutant.source.endswith("=") else ""
    places = "|".join(rf":{line}:\d+: " for line in mutant.lines) or f"{value}: ?"
    wanted = re.compile(f"{re.escape(mutant.source)}({places})({paths})")
    # YAML stumbles over a line's indentation where its block ends, and then names the line that is odd
    named = re.compile("|".join(rf":.* line {line} \(\d+\)" for line in mutant.lines) or "$^")
    return [
        line for line in lines if (wanted.match(line) and mutant.word in line) or named.search(line)
    ]


def problem(mutant: Mutant, lines: list[str], created: set[Path]) -> str:
    """What is wrong with what was told of a mutant; empty if nothing is."""
    if created:
        return f"created {sorted(map(str, created))}"
    if any(not line.strip() or not line.isprintable() for line in lines):
        return "a line that is empty or has control characters"
    return "" if right_lines(mutant, lines) else "not told at its place"


def report(mutant: Mutant, said: str, lines: list[str]) -> str:
    text = mutant.files.get(mutant.source, b"")
    text = text if isinstance(text, str) else ""
    shown = [
        row for number, row in enumerate(text.splitlines(), start=1) if number in mutant.lines[:3]
    ]
    wanted = (
        f"{mutant.source}:{'|'.join(map(str, mutant.lines[:4]))}: {' | '.join(mutant.paths[:3])}"
    )
    return "\n  ".join(
        [
            f"{mutant.kind}: {said}",
            f"wanted {wanted}",
            *[f"text   {row}" for row in shown],
            *lines[:5],
        ]
    )


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize("compact", [True, False])
def test_what_is_not_broken_is_accepted(suffix: str, compact: bool, tmp_path: Path) -> None:
    for name, data in bases().items():
        path = tmp_path / f"{name}{suffix}"
        path.write_text(render(data, suffix, compact).text, encoding="utf-8")
        read_and_check(str(path))


def test_the_campaign_is_the_same_every_time() -> None:
    first = every_mutant()
    assert first == campaign()
    assert len(first) >= 2500


def test_every_mutant_is_refused_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutants = every_mutant()[::SHARE]
    problems, right, typos = [], 0, 0
    for number, mutant in enumerate(mutants):
        here = tmp_path / str(number)
        before = write(mutant.files, here)
        monkeypatch.chdir(here)
        lines: list[str] = []
        try:
            read_and_check(mutant.config, mutant.words)
            said = "accepted"
        except UserError as error:
            lines = str(error).split("\n")
            said = problem(mutant, lines, set(here.rglob("*")) - before)
        except Exception as error:
            said = f"a traceback: {error!r}"
        if said:
            problems.append(report(mutant, said, lines))
        if mutant.meant:
            hints = SUGGESTION.findall("\n".join(right_lines(mutant, lines) or lines))
            typos, right = typos + 1, right + (hints[:1] in [[word] for word in mutant.meant])
        shutil.rmtree(here)
    counts = Counter(mutant.kind for mutant in mutants)
    print(f"\n{len(mutants)} mutants ({', '.join(f'{n} {kind}' for kind, n in counts.items())})")
    print(f"first suggestion right: {right} of {typos} one-letter typos ({right / typos:.1%})")
    assert not problems, "\n".join(
        [f"{len(problems)} of {len(mutants)}, the first of them:", *problems[:10]]
    )
    assert right >= 0.95 * typos


def test_train_py_ends_with_status_2_and_leaves_nothing(tmp_path: Path) -> None:
    every = every_mutant()
    mutants = every[:: len(every) // 20][:: 1 if ALL else 5]
    problems = []
    for mutant in mutants:
        before = write(mutant.files, tmp_path / "run")
        done = run(ROOT / "train.py", "-c", mutant.config, *mutant.words, cwd=tmp_path / "run")
        lines = done.stderr.splitlines()
        said = problem(mutant, lines, set((tmp_path / "run").rglob("*")) - before)
        if (done.returncode, done.stdout) != (2, "") or "Traceback" in done.stderr:
            said = f"status {done.returncode}, {done.stdout[:80]!r} on standard output"
        if said:
            problems.append(report(mutant, said, lines))
    assert not problems, "\n".join(
        [f"{len(problems)} of {len(mutants)}, the first of them:", *problems[:10]]
    )
