"""config/README.md shows real output, and mentions every key and file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from base.schema import SCHEMA
from config.check.preflight import get_known_keys
from tests.fork_server import ForkServer
from tests.helpers import ROOT, copy_project

README = (ROOT / "config" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the file that the README tells to write."""
    root = copy_project(tmp_path_factory.mktemp("project"))
    ((name, text),) = re.findall(r"Write\s`([\w/.]+)`:\n\n```yaml\n(.*?)```", README, re.DOTALL)
    (root / name).write_text(text, encoding="utf-8")
    return root


def test_the_output_is_real(project: Path, fork_server: ForkServer) -> None:
    ((command, output),) = re.findall(r"```text\n\$ python (.*?)\n(.*?)```", README, re.DOTALL)
    done = fork_server.run(*shlex.split(command), cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", output)


def test_every_key_and_every_file_of_the_room_is_mentioned() -> None:
    for key in get_known_keys(SCHEMA):
        assert key in README
    room = [path.relative_to(ROOT / "config") for path in (ROOT / "config").rglob("*.py")]
    for path in room:
        assert path.name == "__init__.py" or path.as_posix() in README
