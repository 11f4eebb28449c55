"""README does what it says: its files are written, its commands run, its output is the real one."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.helpers import ROOT, copy_project, run
from tests.test_shipped_configs import SHIPPED

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = re.findall(
    r"(?:Write|for it,)\s`([\w/]+\.(?:py|yaml))`[^`]*?\n\n(?:and [^\n]*\n\n)?```(?:python|yaml)\n(.*?)```",
    README,
    re.DOTALL,
)
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A fresh clone in which the README's own files have been written."""
    root = copy_project(tmp_path_factory.mktemp("clone"))
    for name, content in FILES:
        (root / name).write_text(content)
    return root


def test_the_files_and_commands_were_found():
    assert [name for name, _ in FILES] == [
        "model/tiny.py",
        "data_loader/moons.py",
        "config/moons.yaml",
        "config/typos.yaml",
    ]
    assert COMMANDS[:2] == ["make train", "make test"]  # run by .ci/run in a fresh clone
    assert len(COMMANDS) >= 8


def test_the_commands_run(project):
    for command in COMMANDS:
        if command.startswith("python "):
            done = run(*shlex.split(command)[1:], cwd=project)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (project / "saved/digits/first/test.json").is_file()
    assert (project / "saved/digits/first/checkpoint-epoch4.pt").is_file()


def test_what_is_shown_of_the_terminal_is_real(project):
    shown = [
        block.strip().splitlines()
        for block in re.findall(r"```text\n\$ python (.*?)```", README, re.DOTALL)
    ]
    assert len(shown) == 2
    for command, *expected in shown:
        done = run(*shlex.split(command), cwd=project)
        assert done.returncode == (0 if "--check" in command else 2)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        assert sorted(map(timeless, lines)) == sorted(map(timeless, expected))


def timeless(line):
    return re.sub(r"seconds +[\d.]+", "seconds", line)


def test_the_loop_shown_is_the_loop():
    def squeezed(text: str) -> str:
        return re.sub(r"\s+", " ", text)

    shown = re.findall(r"```python\n((?:for batch|with self).*?)```", README, re.DOTALL)
    assert len(shown) == 2
    for part in shown:
        assert squeezed(part) in squeezed((ROOT / "trainer/trainer.py").read_text())


def test_every_shipped_config_is_mentioned():
    for name in SHIPPED:
        assert f"`{name}`" in README
