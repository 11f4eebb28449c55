"""Every README does what it says: its files are written, its commands run, its output is real."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from config.read.merge import load_tree
from tests.forked import run_forked
from tests.helpers import ROOT, copy_project, small_config
from tests.test_shipped_configs import SHIPPED

LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard", "*README.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
READMES = [name for name in LISTED if (ROOT / name).is_file() and not name.startswith("data/")]
BLOCK = re.compile(r"(?:(Write)\s`([\w/.]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
RUN_BY_CI = ("make train", "make test")  # in a fresh clone


class Block(NamedTuple):
    """A block of code.

    Attributes:
        file: what the README tells the reader to write it into; an empty text otherwise.
        language: ``sh`` is run; ``bash`` and ``text`` need what a test does not have.
    """

    file: str
    language: str
    text: str


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def list_blocks(name: str) -> list[Block]:
    found = BLOCK.finditer(read(name))
    return [Block(match[2] or "", match[3], match[4]) for match in found]


@pytest.mark.parametrize("name", READMES)
def test_files_are_written_and_commands_run_in_their_order(name: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    for block in list_blocks(name):
        if block.file:
            (project / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                run_command(line.partition("  #")[0].strip(), project)
        elif block.language == "text" and block.text.startswith("$ python "):
            check_output(block.text, project)
    if name == "README.md":
        assert (project / "saved/digits/first/test.json").is_file()
        assert (project / "saved/digits/first/checkpoint-epoch4.pt").is_file()


def run_command(command: str, project: Path) -> None:
    if not command or command in RUN_BY_CI:
        return
    program, *words = shlex.split(command)
    assert program == "python", f"{command}: this test cannot run it"
    done = run_forked(*words, cwd=project)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def check_output(text: str, project: Path) -> None:
    command, _, expected = text.partition("\n")
    done = run_forked(*shlex.split(command.removeprefix("$ python ")), cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.parametrize("name", READMES)
def test_the_files_in_its_tables_exist(name: str) -> None:
    """A file of a table is in the folder of the README, or in one that its heading names."""
    folder = (ROOT / name).parent
    rows = [line.split("|")[1] for line in read(name).splitlines() if line.startswith("| `")]
    named = [found for row in rows for found in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
    assert [file for file in named if not [*folder.glob(file), *folder.glob(f"*/{file}")]] == []


@pytest.mark.parametrize("name", READMES)
def test_its_links_lead_somewhere(name: str) -> None:
    text = read(name)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[.*\]: (\S+)$", text, re.M)
    for link in links:
        path, _, heading = link.partition("#")
        if link.startswith("https://"):
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not heading or heading in list_anchors(target), link


def list_anchors(path: Path) -> list[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def list_snippets() -> Iterator[tuple[str, str]]:
    for name in READMES:
        for block in list_blocks(name):
            if block.language == "yaml" and not block.file:
                yield name, block.text


@pytest.mark.parametrize(("name", "snippet"), list_snippets())
def test_a_part_of_a_config_passes_the_check(name: str, snippet: str, tmp_path: Path) -> None:
    """The sections of a snippet replace those of a small experiment."""
    path = tmp_path / "snippet.yaml"
    path.write_text(snippet, encoding="utf-8")
    config = small_config(tmp_path, epochs=9) | load_tree(path).data
    ConfigParser(config, run_id="unused").check(SCHEMA)


def test_the_loop_shown_is_the_loop() -> None:
    for name in ("README.md", "trainer/README.md"):
        (shown,) = [block.text for block in list_blocks(name) if block.text.startswith("for batch")]
        lines = [line.strip() for line in shown.splitlines()]
        assert "\n".join(lines) in "\n".join(
            line.strip() for line in read("trainer/trainer.py").splitlines()
        )


def test_every_shipped_config_has_one_row_in_the_table_of_examples() -> None:
    rows = re.findall(r"^\| `([\w.]+\.(?:json|yaml))` \|", read("config/README.md"), re.M)
    assert sorted(rows) == sorted(SHIPPED)


def test_the_first_commands_are_those_of_a_newcomer() -> None:
    first = next(block for block in list_blocks("README.md") if block.language == "sh")
    commands = [line.partition("  #")[0].strip() for line in first.text.splitlines()]
    assert tuple(commands) == RUN_BY_CI


def test_the_top_readme_is_short_enough_to_be_read() -> None:
    assert len(read("README.md").splitlines()) <= 250
