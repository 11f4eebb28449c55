"""Checkpoints that look like pytorch-template's, and hold code, run none of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.checkpoint.file import load
from tests.contract.contract_checkpoints import (
    HOSTILE,
    Call,
    Global,
    make_hostile,
    old_state,
    write_old,
)
from tests.contract.contract_project import Project
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("parse_config")
NAMES = ["os.system", "subprocess", "exec", "eval", "open", "getattr", "mkdir", "copy"]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", NAMES)
def test_no_code_in_a_checkpoint_is_run(tmp_path: Path, name: str, legacy: bool) -> None:
    marker = tmp_path / "marker"
    path = write_old(
        tmp_path / "run",
        lambda state: state.update(extra=make_hostile(name, marker)),
        legacy=legacy,
    )
    with pytest.raises(UserError, match=r"checkpoint-epoch2\.pth: ") as refused:
        load(path)
    assert_clear(str(refused.value))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)
    assert not marker.exists()


def assert_clear(message: str) -> None:
    """Asserts that it is one short line, without torch's advice to load the file unsafely."""
    assert message.count("\n") == 0
    assert "Weights only load failed" not in message
    assert "weights_only" not in message
    assert "[1m" not in message
    assert len(message) < 400


def test_the_refusal_names_the_function(tmp_path: Path) -> None:
    path = write_old(
        tmp_path, lambda state: state.update(extra=make_hostile("os.system", tmp_path / "marker"))
    )
    with pytest.raises(UserError, match=r"(posix|os|nt)\.system"):
        load(path)


@pytest.mark.parametrize(
    "location", ["inside the config", "as the config", "in the optimizer", "as a path"]
)
def test_the_allowed_names_cannot_hide_code(tmp_path: Path, location: str) -> None:
    """The template's checkpoints need ConfigParser and paths, so these names are allowed."""
    marker = tmp_path / "marker"
    bad = make_hostile("os.system", marker)

    def change(state: dict[str, Any]) -> None:
        if location == "inside the config":
            vars(state["config"])["__class__"] = bad
        elif location == "as the config":
            state["config"] = bad
        elif location == "in the optimizer":
            state["optimizer"]["state"][0]["step"] = bad
        else:
            vars(state["config"])["_save_dir"] = Call(type(Path()), bad)

    path = write_old(tmp_path / "run", change)
    with pytest.raises(UserError):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("module", "name", "args"),
    [
        ("pathlib", "Path", ("x",)),
        ("pathlib", "PosixPath.touch", ("x",)),
        ("pathlib", "os.system", ("true",)),
        ("parse_config", "os.system", ("true",)),
        ("parse_config", "ConfigParser.from_args", ("x",)),
        ("base.checkpoint.file", "save", ({}, "x")),
        ("torch.hub", "load", ("x", "y")),
        ("numpy", "load", ("x",)),
        ("numpy._core.multiarray", "scalar", (np.dtype("O"), b"x")),
        ("numpy._core.multiarray", "scalar", (np.dtype("f8"), b"too short")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_names_are_not_allowed(
    tmp_path: Path, module: str, name: str, args: Any, legacy: bool
) -> None:
    path = tmp_path / "checkpoint-epoch1.pth"
    with path.open("wb") as file:
        state = {"state_dict": {}, "config": Global(module, name, *args)}
        torch.save(state, file, pickle_module=HOSTILE, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError) as refused:
        load(path)
    assert_clear(str(refused.value))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_programs_refuse_a_hostile_checkpoint_in_one_line(
    project: Project, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    path = write_old(
        project.folder / "old" / "hostile",
        lambda state: state.update(extra=make_hostile("os.system", marker)),
    )
    before = sorted(path.parent.iterdir())
    for program in ("test.py", "train.py"):
        done = project.run(program, "-r", path)
        assert done.code == 2
        lines = done.err.splitlines()
        assert len(lines) == 1
        assert str(path) in lines[0]
        assert_clear(lines[0])
    assert not marker.exists()
    assert sorted(path.parent.iterdir()) == before, "nothing is written"


def test_damage_is_reported_in_one_line(project: Project) -> None:
    """A truncated file of each format, and a file with a changed byte in a weight."""
    for legacy in (False, True):
        path = write_old(project.folder / "old" / f"cut{legacy}", legacy=legacy)
        path.write_bytes(path.read_bytes()[:-500])
        done = project.run("test.py", "-r", path)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert "damaged" in done.err
    path = write_old(project.folder / "old" / "byte")
    content = bytearray(path.read_bytes())
    weight: torch.Tensor = old_state(path.parent)["state_dict"]["hidden.weight"]
    content[content.index(weight.numpy().tobytes()) + 5] ^= 0xFF
    path.write_bytes(bytes(content))
    done = project.run("test.py", "-r", path)
    assert done.code == 2
    assert "damaged" in done.err


def test_another_architecture_is_reported_in_one_line(project: Project) -> None:
    path = write_old(project.folder / "old" / "arch")
    for program in ("test.py", "train.py"):
        done = project.run(program, "-r", path, "arch.args.hidden=8")
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert "hidden.weight is (16, 2) there, (8, 2) here" in done.err
