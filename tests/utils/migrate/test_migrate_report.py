"""The report is true to the project: programs, options, folders, libraries, advice."""

from __future__ import annotations

import json

import pytest
from small_projects import TEMPLATE, make_project

from utils.errors import UserError
from utils.migrate import large_folders
from utils.migrate.__main__ import main
from utils.migrate.commands import describe_projects_folder

PROGRAM = """
import argparse
from parse_config import ConfigParser
from trainer import Trainer

def main(config):
    Trainer(config).train()

if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("-c", "--config", required={required})
    args.add_argument("-r", "--resume")
    args.add_argument("--fold", required=True)
    main(args.parse_args())
"""
BASE_TRAINER = """
class BaseTrainer:
    def __init__(self, config):
        self.checkpoint_dir = os.path.join(config['trainer']['save_dir'], config['name'])

    def _save_checkpoint(self, epoch, save_best=False):
        torch.save({}, os.path.join(self.checkpoint_dir, f'epoch_{epoch}.pth.tar'))
        torch.save({}, os.path.join(self.checkpoint_dir, 'the_best.pth.tar'))
"""
GPU = """
import torch
def f(x, device):
    x = x.to("cuda:0")
    x = x.cuda(device)
    if torch.cuda.is_available():
        x = x.cuda()
    return x.cuda() if torch.cuda.is_available() else x
"""
FAULTS = """
def f(row, rows, x):
    import pandas as pd
    import torchmetrics.functional as functional
    from torchvision import models
    rows.append(row)
    frame = pd.DataFrame()
    frame = frame.append(row)
    functional.accuracy(x, x)
    functional.accuracy(x, x, task="binary")
    models.resnet18(pretrained=True)
    breakpoint()
"""


def list_commands(report: str) -> list[str]:
    code = report.split("```")[1]
    return [line for line in code.split("\n") if line.startswith(".venv")]


def list_attention(report: str) -> str:
    return report.split("## Needs your attention")[1].split("## ")[0]


@pytest.mark.parametrize("required", [True, False])
def test_the_commands_name_the_programs_that_exist_and_what_they_need(migrate, required):
    program = PROGRAM.format(required=required)
    _, report, _ = migrate(check=True, train=None, test=None, folds=program)
    start = ".venv/bin/python folds.py --fold FOLD"
    begin = f"{start} -c config.json" if required else start
    assert f"{start} -c config.json" in list_commands(report)
    assert any(line.startswith(f"{begin} -r ") for line in list_commands(report))
    assert "train.py" not in "".join(list_commands(report))
    assert "- test.py" not in report


def test_checkpoints_are_named_as_the_project_writes_them(migrate):
    program = PROGRAM.format(required=False)
    _, report, _ = migrate(check=True, train=program, test=None, base__base_trainer=BASE_TRAINER)
    assert ".venv/bin/python train.py --fold FOLD -r saved/NAME/epoch_N.pth.tar" in report


def test_gpu_calls_with_a_condition_are_no_problem(migrate):
    _, report, _ = migrate(check=True, mine=GPU)
    attention = list_attention(report)
    assert [line.split(":")[1] for line in attention.split("\n") if "mine" in line] == ["3", "4"]


def test_calls_that_current_libraries_refuse_are_found_inside_functions(migrate):
    _, report, _ = migrate(check=True, mine=FAULTS)
    lines = [line.split(":")[1] for line in list_attention(report).split("\n") if "mine" in line]
    assert lines == ["7", "8", "10", "11"]


def test_an_import_goes_with_the_code_that_used_it(migrate):
    util = TEMPLATE["utils/util.py"] + "\n        def halved(x):\n            return x / 2\n"
    _, report, folder = migrate(utils__util=util)
    assert "pandas" not in (folder / "utils/util.py").read_text()
    assert "pip install pandas" not in report


def test_an_import_stays_if_another_file_gets_it_from_there(migrate):
    util = TEMPLATE["utils/util.py"] + "\n        def halved(x):\n            return x / 2\n"
    mine = "from utils.util import *\n\nprint(pd)\n"
    _, _, folder = migrate(utils__util=util, mine=mine)
    assert "import pandas as pd" in (folder / "utils/util.py").read_text()


def test_libraries_have_the_names_of_pip_and_are_those_that_the_programs_reach(migrate):
    program = PROGRAM.format(required=False) + "\nimport cv2, mine\n"
    _, report, _ = migrate(
        check=True, folds=program, mine="import skimage\n", unused="import tensorflow\n"
    )
    assert ".venv/bin/pip install opencv-python scikit-image  #" in report


@pytest.mark.parametrize("is_used", [True, False])
def test_no_advice_to_give_up_what_is_used(migrate, is_used):
    util = TEMPLATE["utils/util.py"].replace("n=1)", "n=1, **more)")
    util += "\n            def names(self):\n                return 1\n"
    mine = "def f(tracker):\n    return tracker.names()\n" if is_used else "X = 1\n"
    _, report, _ = migrate(check=True, utils__util=util, mine=mine)
    assert ("replace your MetricTracker" in report) is not is_used


def test_large_folders_are_listed_and_may_be_linked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(large_folders, "LARGE_BYTES", 1000)
    project = make_project(tmp_path / "old")
    (project / "data" / "raw").mkdir(parents=True)
    (project / "data" / "raw" / "big.bin").write_bytes(bytes(2000))
    main(project, None)
    assert "- data/: 0.0 GB, copied; `--link data` makes a link" in capsys.readouterr().out
    main(project, tmp_path / "new", ["data"])
    assert "- data/: 0.0 GB, linked, not copied" in capsys.readouterr().out
    assert (tmp_path / "new/data").is_symlink()
    assert (tmp_path / "new/data/raw/big.bin").stat().st_size == 2000
    for wrong in ("model", "nowhere", "../old", "."):
        with pytest.raises(UserError, match="--link"):
            main(project, tmp_path / "other", [wrong])
    assert not (tmp_path / "other").exists()


def test_a_git_submodule_is_no_library_and_is_named_if_it_has_no_files(migrate, tmp_path):
    old = tmp_path / "old"
    (old / "lib/Flow").mkdir(parents=True)
    (old / "lib/Flow/README").write_text("fetched")
    listing = '[submodule "a"]\n\tpath = LossNet\n[submodule "b"]\n\tpath = lib/Flow\n'
    (old / ".gitmodules").write_text(listing)
    imports = "import LossNet\nimport Flow.warp\nimport einops\n" + PROGRAM.format(required=True)
    _, report, _ = migrate(check=True, clouds=False, train=imports)
    installed = next(row for row in list_commands(report) if "import them too" in row)
    assert installed.split("  #")[0].endswith("pip install einops")
    attention = list_attention(report)
    assert "LossNet/: this git submodule has no files" in attention
    assert "lib/Flow" not in attention


def test_a_resumed_run_is_said_to_write_here_only_if_the_folder_is_here():
    assert describe_projects_folder("saved").endswith("a new folder in `saved/` here.")
    assert describe_projects_folder("/runs").endswith("a new folder in `/runs/`.")


LOADING_PROGRAM = """
'''Shows what a trained model finds.'''
from __future__ import annotations
import torch
{more}

if __name__ == "__main__":
    print(torch.load("model_best.pth")["epoch"])
"""


@pytest.mark.parametrize("imports_base", [True, False])
def test_a_program_that_does_not_import_base_imports_its_repairs(migrate, imports_base):
    more = "from model import clouds" if imports_base else ""
    program = LOADING_PROGRAM.format(more=more)
    _, report, folder = migrate(detect=program, model__clouds="from base import BaseModel\n")
    text = (folder / "detect.py").read_text()
    assert ("import repairs.safe_load" in text) is not imports_base
    assert ("its line in base/__init__.py and in detect.py." in report) is not imports_base


RESUMING_PROGRAM = """
import argparse
from parse_config import ConfigParser
from trainer.mine import Mine

def main(config):
    print(config["path"]["log"])
    Mine(config).train()

if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("-c", "--config")
    args.add_argument("-r", "--resume")
    main(ConfigParser.from_args(args))
"""
RESUMING_TRAINER = """
class BaseTrainer:
    def __init__(self, config):
        if config.resume is not None:
            self._resume_checkpoint(config.resume)
"""
RESUMING_METHOD = """
    def _resume_checkpoint(self, path):
        print(path)
"""


@pytest.mark.parametrize("resumes", [True, False])
def test_no_command_to_resume_if_the_project_cannot(migrate, resumes):
    _, report, _ = migrate(
        check=True,
        train=RESUMING_PROGRAM,
        test=None,
        base__base_trainer=RESUMING_TRAINER + (RESUMING_METHOD if resumes else ""),
        trainer__mine="from base import BaseTrainer\n\nclass Mine(BaseTrainer):\n    pass\n",
    )
    assert ("train.py -r " in report) is resumes
    assert ("that `-r` of train.py names" in report) is not resumes


def test_the_command_names_the_config_that_the_program_reads(tmp_path, capsys):
    project = make_project(tmp_path / "old", train=RESUMING_PROGRAM, trainer__mine="Mine = 1\n")
    sections = {"n_gpu": 0, "data_loader": {}, "loss": "l", "optimizer": {}, "path": {"log": "l"}}
    (project / "a_config_with_paths.json").write_text(json.dumps(sections))
    main(project, None)
    assert "train.py -c a_config_with_paths.json" in capsys.readouterr().out


CONVERSIONS = """
import numpy as np
def crop(size, limits):
    p = limits[0]
    size = int(size * p)
    p = np.random.rand(1) * (1 - limits[0]) + limits[0]
    q = np.random.rand(1)[0]
    r = np.random.rand()
    return int(np.floor(size * p)), int(size * q), float(r), float(np.random.rand(1)), int(size)
"""


def test_numbers_from_arrays_are_found(migrate):
    _, report, _ = migrate(check=True, mine=CONVERSIONS)
    lines = [line for line in list_attention(report).split("\n") if "mine" in line]
    assert [line.partition("since")[0] for line in lines] == [
        "- mine.py:8: NumPy refuses `float(np.random.rand(1))` of an array ",
        "- mine.py:8: NumPy refuses `int(np.floor(size * p))` of an array ",
    ]
