"""pytorch-template's checkpoints, which hold a pickled ConfigParser, load and run no code."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_project import TEMPLATE_PROJECT, Project, load_module
from torch import nn

import base
from base import BaseTrainer
from base.checkpoint.file import load
from config import ConfigParser
from utils.errors import UserError

assert base, "imported because user code that calls torch.load has imported it too"


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provides the module whose class the template pickles. Other processes do not have it."""
    module = types.ModuleType("parse_config")
    vars(module)["ConfigParser"] = type("ConfigParser", (), {"__module__": "parse_config"})
    monkeypatch.setitem(sys.modules, "parse_config", module)


def template_config(folder: Path, generation: str = "2020") -> Any:
    """Returns what the template saves as ``config``, with the attributes of that generation."""
    values = json.loads(
        (TEMPLATE_PROJECT / "config.json").read_text(), object_pairs_hook=collections.OrderedDict
    )
    if generation == "plain":
        return values
    config = sys.modules["parse_config"].ConfigParser()
    log_levels = {0: 30, 1: 20, 2: 10}
    if generation == "2020":
        folders = {"_save_dir": folder / "models", "_log_dir": folder / "log"}
        vars(config).update(
            {"_config": values, "resume": folder / "checkpoint-epoch1.pth", **folders}
        )
    elif generation == "2019-06":
        folders = {
            "_save_dir": folder / "models",
            "_log_dir": folder / "log",
            "cfg_fname": folder / "config.json",
        }
        vars(config).update({"_config": values, "resume": None, **folders})
    else:
        folders = {"save_dir": folder / "models", "log_dir": folder / "log"}
        vars(config).update({"config": values, "resume": None, "exper_name": "Clouds", **folders})
    config.log_levels = log_levels
    return config


def old_state(
    folder: Path, generation: str = "2020", parallel: bool = False, epoch: int = 2
) -> dict[str, Any]:
    """Returns what the template saves, for the project's net after one optimizer step."""
    torch.manual_seed(5)
    net: Any = load_module("model/model.py").CloudNet(hidden=16, dropout=0.2)
    wrapped = nn.DataParallel(net) if parallel else net
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    net(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    return {
        "arch": type(wrapped).__name__,
        "epoch": epoch,
        "state_dict": wrapped.state_dict(),
        "optimizer": optimizer.state_dict(),
        "monitor_best": 0.75,
        "config": template_config(folder, generation),
    }


def write_old(
    folder: Path, change: Callable[[dict[str, Any]], None] | None = None, **kind: Any
) -> Path:
    """Writes ``config.json`` and ``checkpoint-epoch2.pth``. Returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    legacy = kind.pop("legacy", False)
    state = old_state(folder, **kind)
    if change is not None:
        change(state)
    (folder / "config.json").write_text((TEMPLATE_PROJECT / "config.json").read_text())
    path = folder / "checkpoint-epoch2.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


KINDS = [
    pytest.param({}, id="2020"),
    pytest.param({"generation": "2019-06"}, id="2019-06"),
    pytest.param({"generation": "2019-04"}, id="2019-04"),
    pytest.param({"generation": "plain"}, id="plain-config"),
    pytest.param({"legacy": True}, id="before-torch-1.6"),
    pytest.param({"parallel": True}, id="DataParallel"),
    pytest.param(
        {"parallel": True, "legacy": True, "generation": "2019-06"},
        id="DataParallel-before-torch-1.6",
    ),
]


# -- the programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_train_py_resumes_and_test_py_evaluates_an_old_checkpoint(
    project: Project, kind: dict[str, Any], request: Any
) -> None:
    folder = project.folder / "old" / request.node.callspec.id
    path = write_old(folder, **kind)
    del sys.modules["parse_config"]

    done = project.run("test.py", "-r", path, "-o", "old.json").check()
    assert f"{path}" in done.out
    result = json.loads((project.folder / "old.json").read_text())
    assert result["epoch"] == 2
    net = load_module("model/model.py").CloudNet(hidden=16)
    net.load_state_dict(old_state(folder, "plain")["state_dict"])
    net.eval()
    points = load_module("data_loader/data_loaders.py").CloudDataset(150, seed=2)
    accuracy = (net(torch.from_numpy(points.points)).argmax(1).numpy() == points.labels).mean()
    assert result["metrics"]["accuracy"] == pytest.approx(accuracy, rel=1e-6)

    done = project.run("train.py", "-r", path, "trainer.epochs=3").check()
    assert "tensors in the checkpoint: 4" in done.out, "the project's own torch.load(config.resume)"
    assert "after epoch 2" in done.out
    assert [line for line in done.out.splitlines() if "epoch 3/3" in line]
    new = torch.load(folder / "checkpoint-epoch3.pt", weights_only=True)
    assert new["epoch"] == 3
    assert set(new["state_dict"]) == {"hidden.weight", "hidden.bias", "out.weight", "out.bias"}
    assert new["optimizer"]["state"][0]["step"] == 1 + 7, "the optimizer's state is restored"
    assert path.is_file()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize(
    "value", [np.float64(0.625), np.float32(-1.5), np.int64(-7), np.bool_(True)], ids=repr
)
def test_numpy_numbers_load_under_both_module_names(
    tmp_path: Path, value: Any, module: str, legacy: bool
) -> None:
    """A metric of scikit-learn is pickled as a NumPy number. NumPy 2 renamed the module of it."""
    function, (dtype, content) = value.__reduce__()
    assert function.__module__ in ("numpy.core.multiarray", "numpy._core.multiarray")
    path = write_old(tmp_path, legacy=legacy)
    with path.open("wb") as file:
        state = {"monitor_best": Global(f"{module}.multiarray", "scalar", dtype, content)}
        torch.save(state, file, pickle_module=HOSTILE, _use_new_zipfile_serialization=not legacy)
    assert load(path)["monitor_best"] == value
    assert torch.load(path)["monitor_best"] == value


def test_a_best_value_from_numpy_is_restored(project: Project) -> None:
    path = write_old(
        project.folder / "old" / "numpy", lambda state: state.update(monitor_best=np.float64(0.625))
    )
    assert float(load(path)["monitor_best"]) == 0.625
    assert float(torch.load(path)["monitor_best"]) == 0.625
    project.run("test.py", "-r", path).check()
    project.run("train.py", "-r", path, "trainer.epochs=3").check()


def test_fine_tuning_with_another_config(project: Project) -> None:
    """With ``-r OLD -c NEW``, the sections of the new file replace those of the run."""
    path = write_old(project.folder / "old" / "tune")
    section = project.make_section(epochs=3)
    (project.folder / "tune.json").write_text(
        json.dumps({"trainer": section, "optimizer": {"type": "SGD", "args": {"lr": 0.5}}})
    )
    done = project.run("train.py", "-r", path, "-c", "tune.json").check()
    assert "The optimizer was Adam and is SGD now" in done.out
    new = torch.load(path.parent / "checkpoint-epoch3.pt", weights_only=True)
    assert new["config"]["optimizer"] == {"type": "SGD", "args": {"lr": 0.5}}
    assert new["optimizer"]["param_groups"][0]["momentum"] == 0
    assert new["epoch"] == 3


def test_a_run_folder_of_the_template_is_accepted(project: Project) -> None:
    """The newest checkpoint is resumed; ``model_best.pth`` is tested."""
    folder = project.folder / "old" / "folder"
    path = write_old(folder)
    state = old_state(folder, epoch=1)
    torch.save(state, folder / "checkpoint-epoch1.pth")
    torch.save(state, folder / "model_best.pth")
    done = project.run("test.py", "-r", folder).check()
    assert "model_best.pth" in done.out
    done = project.run("train.py", "-r", folder, "trainer.epochs=3").check()
    assert f"{path}" in done.out


# -- inside one process ----------------------------------------------------------------------------


class StillTrainer(BaseTrainer):
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {"val_loss": 1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_all_state_of_an_old_checkpoint_is_restored(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = write_old(tmp_path, **kind)
    del sys.modules["parse_config"]
    values = json.loads((TEMPLATE_PROJECT / "config.json").read_text())
    config = ConfigParser(values, resume=path)
    net = load_module("model/model.py").CloudNet(hidden=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    trainer = StillTrainer(net, None, [], optimizer, config)
    assert trainer.start_epoch == 3
    assert trainer.mnt_best == 0.75
    expected = old_state(tmp_path, generation="plain")
    for name, value in net.state_dict().items():
        assert torch.equal(value, expected["state_dict"][name])
    moments = optimizer.state_dict()["state"]
    expected_moments = expected["optimizer"]["state"]
    assert moments.keys() == expected_moments.keys() == {0, 1, 2, 3}
    for index in expected_moments:
        assert torch.equal(moments[index]["exp_avg"], expected_moments[index]["exp_avg"])
        assert torch.equal(
            moments[index]["max_exp_avg_sq"], expected_moments[index]["max_exp_avg_sq"]
        )
    assert trainer.checkpoint_dir == tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_user_code_may_call_torch_load(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = write_old(tmp_path, **kind)
    del sys.modules["parse_config"]
    checkpoint = torch.load(path)
    expected = old_state(tmp_path, "plain", parallel=kind.get("parallel", False))["state_dict"]
    assert checkpoint["state_dict"].keys() == expected.keys()
    assert all(torch.equal(checkpoint["state_dict"][name], expected[name]) for name in expected)
    assert (checkpoint["epoch"], checkpoint["monitor_best"]) == (2, 0.75)
    assert checkpoint["config"]["arch"]["type"] == "CloudNet"
    assert checkpoint["config"]["optimizer"]["args"]["lr"] == 0.01
    assert "parse_config" not in sys.modules


def test_the_placeholders_hold_data_only(tmp_path: Path) -> None:
    path = write_old(tmp_path / "run")
    del sys.modules["parse_config"]
    config = load(path)["config"]
    assert type(config).__module__.startswith("base")
    assert str(vars(config)["_save_dir"]) == str(tmp_path / "run" / "models")
    assert not hasattr(vars(config)["_save_dir"], "unlink")
    assert not hasattr(config, "init_obj")
    assert vars(config)["log_levels"] == {0: 30, 1: 20, 2: 10}


def test_import_base_is_enough_for_torch_load(tmp_path: Path) -> None:
    """The process has imported nothing else of this project."""
    path = write_old(tmp_path)
    code = f"import base, torch; print(sorted(torch.load({str(path)!r})['state_dict'])[0])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "hidden.bias\n"


@pytest.mark.parametrize(
    "config", ["text", None, {}, {"trainer": {}}, {"optimizer": {}, "trainer": 5}], ids=str
)
def test_a_similar_checkpoint_of_another_tool_does_not_crash(tmp_path: Path, config: Any) -> None:
    """It has the template's keys by chance. It is resumed, or refused with a UserError."""
    path = write_old(tmp_path, lambda state: state.update(config=config))
    net = load_module("model/model.py").CloudNet(hidden=16)
    values = json.loads((TEMPLATE_PROJECT / "config.json").read_text())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    with contextlib.suppress(UserError):
        assert (
            StillTrainer(net, None, [], optimizer, ConfigParser(values, resume=path)).start_epoch
            == 3
        )


# -- hostile checkpoints ---------------------------------------------------------------------------


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class Global:
    """Pickles as a call of a name. The name need not exist."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.module, self.name, self.args = module, name, args


class HostilePickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes the name of a Global without importing it."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
            super().save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


HOSTILE: Any = types.ModuleType("hostile_pickle")  # torch.save takes it for pickle
HOSTILE.Pickler = HostilePickler
HOSTILE.dump = lambda obj, file, protocol: HostilePickler(file, protocol).dump(obj)


def make_hostile(name: str, marker: Path) -> Any:
    """Returns an object that creates the file ``marker`` when pickle loads it."""
    touch = f"touch {marker}"
    return {
        "os.system": Call(os.system, touch),
        "subprocess": Call(subprocess.Popen, ["touch", str(marker)]),
        "exec": Call(exec, f"open({str(marker)!r}, 'w').close()"),
        "eval": Call(eval, f"open({str(marker)!r}, 'w').close()"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, Path(marker), "touch"),
        "mkdir": Call(os.mkdir, str(marker)),
        "copy": Call(Path.touch, Path(marker)),
    }[name]


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
