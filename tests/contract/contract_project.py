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

from tests.helpers import ROOT, copy_project

TEMPLATE_PROJECT = ROOT / "tests" / "fixtures" / "template_project"
RUN = Path("saved/Clouds/first")  # of the fixture `trained`

# Imports the slow libraries once and forks a process for each command. `os._exit` saves a second.
FORK_SERVER = """
import json, os, runpy, sys, traceback
import tensorboard, torch, torch.utils.tensorboard, torchmetrics, torchvision
for line in sys.stdin:
    folder, argv = json.loads(line)
    if (child := os.fork()) == 0:
        for number, name in ((1, "out.txt"), (2, "err.txt")):
            path = os.path.join(folder, name)
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(folder)
        sys.argv, code = argv, 0
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            code = traceback.print_exc() or 1
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


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


def make_environment() -> dict[str, str]:
    """Returns the environment of commands: one thread, no GPU."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Project:
    """A folder with a project, and methods that run commands in it."""

    def __init__(self, folder: Path, server: subprocess.Popen[str] | None) -> None:
        self.folder = folder
        self.server = server

    def run_as_user(self, *argv: object) -> Done:
        """Runs ``python ARGV`` in a new interpreter."""
        command = [sys.executable, *map(str, argv)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=make_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *argv: object) -> Done:
        """Runs ``python ARGV`` without waiting for the import of libraries."""
        if self.server is None:
            return self.run_as_user(*argv)
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print(
            json.dumps([str(self.folder), list(map(str, argv))]), file=self.server.stdin, flush=True
        )
        code = int(self.server.stdout.readline())
        return Done(
            code, (self.folder / "out.txt").read_text(), (self.folder / "err.txt").read_text()
        )

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
