"""``python -m config schema`` in a project with files of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.config.check.small import edit_cifar10
from tests.forked import run_forked
from tests.helpers import copy_project

TINY = '''
from torch import nn

from base import BaseModel


class Tiny(BaseModel):
    """Two small layers.

    Args:
        hidden: units between the two.
            More need more memory.
    """

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.Linear(hidden, 10))

    def forward(self, x):
        return self.layers(x)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def tiny(project: Path) -> Any:
    yield project / "model" / "tiny.py"
    (project / "model" / "tiny.py").unlink()


def test_a_new_file_is_listed_with_its_arguments(project: Path, tiny: Path) -> None:
    tiny.write_text(TINY)
    done = run_forked("-m", "config", "schema", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Written to {project / 'config' / 'schema.json'}\n"
    written = json.loads((project / "config" / "schema.json").read_text(encoding="utf-8"))
    names = written["$defs"]["arch names"]["anyOf"]
    assert {"const": "tiny.Tiny", "description": "Two small layers."} in names
    hidden = written["$defs"]["model.tiny.Tiny"]["properties"]["hidden"]
    assert hidden == {
        "$ref": "#/$defs/integer",
        "default": 64,
        "description": "units between the two. More need more memory.",
    }

    validator = Draft202012Validator(written)
    good, bad = (
        edit_cifar10("arch.type=tiny.Tiny", f"arch.args={{{name}: 32}}")
        for name in ("hidden", "hiden")
    )
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_a_file_that_cannot_be_imported_is_reported_in_one_line(
    project: Path, tiny: Path, text: str, message: str
) -> None:
    before = (project / "config" / "schema.json").read_bytes()
    tiny.write_text(text)
    done = run_forked("-m", "config", "schema", cwd=project)
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (2, 1), done.stderr[-1500:]
    assert "model/tiny.py" in lines[0]
    assert message in lines[0]
    assert (project / "config" / "schema.json").read_bytes() == before
