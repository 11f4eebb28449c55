"""A copy of this repository with a pytorch-template project laid over it, to run commands in."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from tests.forked import run_forked
from tests.helpers import ROOT, copy_project

TEMPLATE_PROJECT = ROOT / "tests" / "fixtures" / "template_project"
RUN = Path("saved/Clouds/first")  # of the fixture `trained`


class Done(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    def check(self) -> Done:
        """Asserts success and returns the result."""
        assert self.code == 0, f"status {self.code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err
        return self


ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}


class Project:
    """A folder with a project, and methods that run commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run_as_user(self, *argv: object) -> Done:
        """Runs ``python ARGV`` in a new interpreter."""
        done = subprocess.run(
            [sys.executable, *map(str, argv)],
            cwd=self.folder,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *argv: str | Path) -> Done:
        """Runs ``python ARGV`` without waiting for the import of libraries."""
        done = run_forked(*argv, cwd=self.folder, env=ENVIRONMENT)
        return Done(done.returncode, done.stdout, done.stderr)

    def write_config(self, file: str, /, **sections: Any) -> None:
        """Writes the project's config with other sections. None removes a section."""
        values = json.loads((TEMPLATE_PROJECT / "config.json").read_text()) | sections
        values = {key: value for key, value in values.items() if value is not None}
        (self.folder / file).write_text(json.dumps(values))

    def train(self, name: str, *words: str, **sections: Any) -> Path:
        """Trains the run ``run`` with a changed config. Returns its folder."""
        self.write_config(f"{name}.json", **{"name": name} | sections)
        self.run("train.py", "-c", f"{name}.json", "--run-id", "run", *words).check()
        return self.folder / "saved" / name / "run"

    def make_section(self, **changes: Any) -> dict[str, Any]:
        """Returns the ``trainer`` section with changes. None removes a key."""
        section = json.loads((TEMPLATE_PROJECT / "config.json").read_text())["trainer"] | changes
        return {key: value for key, value in section.items() if value is not None}


def lay_out_project(folder: Path) -> None:
    """Copies this repository to ``folder`` and the project's folders over it."""
    copy_project(folder, leave_out=("tests",))
    shutil.copytree(TEMPLATE_PROJECT, folder, dirs_exist_ok=True)


def load_module(path: str) -> ModuleType:
    """Imports a file of the template project under a unique module name."""
    spec = importlib.util.spec_from_file_location(
        "template_project_" + Path(path).stem, TEMPLATE_PROJECT / path
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_run(folder: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl."""
    return [
        json.loads(line) for line in (folder / "log" / "metrics.jsonl").read_text().splitlines()
    ]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Returns the ``state_dict`` in a checkpoint."""
    return torch.load(path, weights_only=True)["state_dict"]  # type: ignore[no-any-return]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
