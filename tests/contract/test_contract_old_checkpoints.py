"""pytorch-template's checkpoints, which hold a pickled ConfigParser, load and run no code."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base import BaseTrainer
from base.checkpoint.file import load
from config import ConfigParser
from tests.contract.contract_checkpoints import HOSTILE, Global, old_state, write_old
from tests.contract.contract_project import TEMPLATE_PROJECT, Project, load_module
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("parse_config")
SLOW = pytest.mark.slow

KINDS: dict[str, dict[str, Any]] = {  # how to write an old checkpoint
    "2020": {},
    "2019-06": {"generation": "2019-06"},
    "2019-04": {"generation": "2019-04"},
    "2019-04-22": {"generation": "2019-04-22"},
    "2018-04-18": {"generation": "2018-04-18", "legacy": True},
    "2018-04-15": {"generation": "2018-04-15", "legacy": True},
    "2018-03": {"generation": "2018-03", "legacy": True},
    "plain-config": {"generation": "plain"},
    "before-torch-1.6": {"legacy": True},
    "DataParallel": {"parallel": True},
    "DataParallel-before-torch-1.6": {"parallel": True, "legacy": True, "generation": "2019-06"},
}
WITHOUT_CONFIG = ("2018-03", "2018-04-15")
RUN_BY_THE_PROGRAMS = [  # the tests in this process take all kinds too
    pytest.param(
        kind, marks=() if kind in ("2020", "2018-03", "DataParallel-before-torch-1.6") else SLOW
    )
    for kind in KINDS
]


@pytest.mark.parametrize("kind", RUN_BY_THE_PROGRAMS)
def test_train_py_resumes_and_test_py_evaluates_an_old_checkpoint(
    project: Project, kind: str
) -> None:
    folder = project.folder / "old" / kind
    path = write_old(folder, **KINDS[kind])
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


class StillTrainer(BaseTrainer):
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {"val_loss": 1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_all_state_of_an_old_checkpoint_is_restored(tmp_path: Path, kind: str) -> None:
    path = write_old(tmp_path, **KINDS[kind])
    del sys.modules["parse_config"]
    values = json.loads((TEMPLATE_PROJECT / "config.json").read_text())
    config = ConfigParser(values, resume=path)
    net = load_module("model/model.py").CloudNet(hidden=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    trainer = StillTrainer(net, None, [], optimizer, config)
    assert trainer.start_epoch == 3
    assert trainer.mnt_best == (math.inf if kind in WITHOUT_CONFIG else 0.75)
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
def test_user_code_may_call_torch_load(tmp_path: Path, kind: str) -> None:
    path = write_old(tmp_path, **KINDS[kind])
    del sys.modules["parse_config"]
    checkpoint = torch.load(path)
    parallel = KINDS[kind].get("parallel", False)
    expected = old_state(tmp_path, "plain", parallel=parallel)["state_dict"]
    assert checkpoint["state_dict"].keys() == expected.keys()
    assert all(torch.equal(checkpoint["state_dict"][name], expected[name]) for name in expected)
    assert checkpoint["epoch"] == 2
    assert checkpoint["min_loss" if kind == "2018-03" else "monitor_best"] == 0.75
    if kind not in WITHOUT_CONFIG:
        assert checkpoint["config"]["arch"]["type"] == "CloudNet"
        assert checkpoint["config"]["optimizer"]["args"]["lr"] == 0.01
    assert "parse_config" not in sys.modules


def test_the_history_in_a_checkpoint_of_2018_goes_on_after_a_resume(tmp_path: Path) -> None:
    """The trainers of 2018 continue it, and save it again."""
    path = write_old(tmp_path, generation="2018-04-18")
    for epoch in (3, 4):
        checkpoint = torch.load(path)
        checkpoint["logger"].add_entry({"epoch": epoch})
        torch.save(checkpoint, path)
    history = load(path)["logger"]
    assert [entry["epoch"] for entry in history.entries.values()] == [1, 2, 3, 4]
    assert str({"epoch": 4}) in str(history)


@pytest.mark.parametrize("kind", ["2020", "2019-04", "2019-04-22"])
def test_a_config_is_saved_again_by_a_resumed_project(tmp_path: Path, kind: str) -> None:
    path = write_old(tmp_path, **KINDS[kind])
    del sys.modules["parse_config"]
    torch.save(torch.load(path), path)
    for checkpoint in (torch.load(path), load(path)):
        assert checkpoint["config"]["arch"]["type"] == "CloudNet"
        assert checkpoint["config"].config["arch"]["type"] == "CloudNet"


def test_the_placeholders_hold_data_only(tmp_path: Path) -> None:
    path = write_old(tmp_path / "run")
    del sys.modules["parse_config"]
    config = load(path)["config"]
    assert type(config).__module__.startswith("base")
    assert str(vars(config)["_save_dir"]) == str(tmp_path / "run" / "models")
    assert not hasattr(vars(config)["_save_dir"], "unlink")
    assert not hasattr(config, "init_obj")
    assert vars(config)["log_levels"] == {0: 30, 1: 20, 2: 10}


def test_import_base_is_enough_for_torch_load(project: Project, tmp_path: Path) -> None:
    """The process has imported nothing else of this project."""
    path = write_old(tmp_path)
    script = project.folder / "only_loads.py"
    script.write_text(
        f"import base, torch\nprint(sorted(torch.load({str(path)!r})['state_dict'])[0])\n"
    )
    assert project.run("only_loads.py").check().out == "hidden.bias\n"


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
