"""Every mistake in a shipped config is reported with its line and key path.

``FUZZ=all`` runs the complete campaign.
"""

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
from tests.fuzz.components import get_base_configs
from tests.fuzz.mutants import Mutant, make_campaign
from tests.fuzz.render import render
from tests.helpers import ROOT, run
from utils.errors import UserError

ALL = os.environ.get("FUZZ") == "all"
STRIDE = 1 if ALL else 8
get_campaign = cache(make_campaign)
SUGGESTION = re.compile(r"did you mean '([^']*)'")
MAX_REPORTS = 10


def read_and_check(config: str, words: tuple[str, ...] = ()) -> None:
    """Does what train.py does before it makes anything."""
    args = argparse.Namespace(
        config=config, resume=None, device=None, overrides=list(words), run_id="run"
    )
    ConfigParser.from_args(args).check(SCHEMA)


def write(files: dict[str, Any], folder: Path) -> set[Path]:
    """Writes the files into an empty folder, and returns everything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return set(folder.rglob("*"))


def find_right_lines(mutant: Mutant, lines: list[str]) -> list[str]:
    """Returns the lines that report the mutant's mistake at the right position."""
    paths = "|".join(f"{re.escape(path)}: " for path in mutant.paths)
    value = ".*" if mutant.source.endswith("=") else ""
    positions = "|".join(rf":{line}:\d+: " for line in mutant.lines) or f"{value}: ?"
    wanted = re.compile(f"{re.escape(mutant.source)}({positions})({paths})")
    # YAML notices a wrong indentation where the block ends; its message then names the wrong line.
    named = re.compile("|".join(rf":.* line {line} \(\d+\)" for line in mutant.lines) or "$^")
    return [
        line for line in lines if (wanted.match(line) and mutant.word in line) or named.search(line)
    ]


def find_problem(mutant: Mutant, lines: list[str], created: set[Path]) -> str:
    """Returns what is wrong with the messages about a mutant, or an empty string."""
    if created:
        return f"created {sorted(map(str, created))}"
    if any(not line.strip() or not line.isprintable() for line in lines):
        return "a line is empty or has control characters"
    return "" if find_right_lines(mutant, lines) else "not reported at the right position"


def check_mutant(mutant: Mutant, folder: Path) -> tuple[str, list[str]]:
    """Checks the mutant that is written in ``folder``.

    Returns:
        what is wrong with its refusal, or an empty string; and the lines of the error.
    """
    before = set(folder.rglob("*"))
    try:
        read_and_check(mutant.config, mutant.words)
    except UserError as error:
        lines = str(error).split("\n")
        return find_problem(mutant, lines, set(folder.rglob("*")) - before), lines
    except Exception as error:
        return f"a traceback: {error!r}", []
    return "accepted", []


def has_right_suggestion(mutant: Mutant, lines: list[str]) -> bool:
    suggestions = SUGGESTION.findall("\n".join(find_right_lines(mutant, lines) or lines))
    return bool(suggestions) and suggestions[0] in mutant.meant


def describe(mutant: Mutant, problem: str, lines: list[str]) -> str:
    text = mutant.files.get(mutant.source, b"")
    rows = text.splitlines() if isinstance(text, str) else []
    shown = [row for number, row in enumerate(rows, start=1) if number in mutant.lines[:3]]
    numbers = "|".join(map(str, mutant.lines[:4]))
    header = [
        f"{mutant.kind}: {problem}",
        f"wanted {mutant.source}:{numbers}: {' | '.join(mutant.paths[:3])}",
    ]
    return "\n  ".join([*header, *[f"text   {row}" for row in shown], *lines[:5]])


def summarize(problems: list[str], count: int) -> str:
    header = f"{len(problems)} of {count} mutants failed; the first of them:"
    return "\n".join([header, *problems[:MAX_REPORTS]])


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize("compact", [True, False])
def test_a_config_without_a_mistake_is_accepted(suffix: str, compact: bool, tmp_path: Path) -> None:
    for name, data in get_base_configs().items():
        path = tmp_path / f"{name}{suffix}"
        path.write_text(render(data, suffix, compact).text, encoding="utf-8")
        read_and_check(str(path))


def test_the_campaign_is_the_same_every_time() -> None:
    first = get_campaign()
    assert first == make_campaign()
    assert len(first) >= 2500


def test_every_mutant_is_refused_at_the_right_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutants = get_campaign()[::STRIDE]
    problems, num_right, num_typos = [], 0, 0
    for number, mutant in enumerate(mutants):
        folder = tmp_path / str(number)
        write(mutant.files, folder)
        monkeypatch.chdir(folder)
        problem, lines = check_mutant(mutant, folder)
        if problem:
            problems.append(describe(mutant, problem, lines))
        if mutant.meant:
            num_typos += 1
            num_right += has_right_suggestion(mutant, lines)
        shutil.rmtree(folder)
    counts = Counter(mutant.kind for mutant in mutants)
    print(f"\n{len(mutants)} mutants ({', '.join(f'{n} {kind}' for kind, n in counts.items())})")
    print(
        f"first suggestion right: {num_right} of {num_typos} one-letter typos "
        f"({num_right / num_typos:.1%})"
    )
    assert not problems, summarize(problems, len(mutants))
    assert num_right >= 0.95 * num_typos


def test_train_py_ends_with_status_2_and_leaves_nothing(tmp_path: Path) -> None:
    campaign = get_campaign()
    mutants = campaign[:: len(campaign) // 20][:: 1 if ALL else 5]
    folder = tmp_path / "run"
    problems = []
    for mutant in mutants:
        before = write(mutant.files, folder)
        done = run(ROOT / "train.py", "-c", mutant.config, *mutant.words, cwd=folder)
        lines = done.stderr.splitlines()
        problem = find_problem(mutant, lines, set(folder.rglob("*")) - before)
        if (done.returncode, done.stdout) != (2, "") or "Traceback" in done.stderr:
            problem = f"status {done.returncode}, {done.stdout[:80]!r} on standard output"
        if problem:
            problems.append(describe(mutant, problem, lines))
    assert not problems, summarize(problems, len(mutants))
