"""A bug in the code of a project keeps its traceback, and a last line names its component."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forked import run_forked
from tests.helpers import copy_project

FILES = {
    "data_loader/broken.py": """
import torch
from torch.utils.data import Dataset, Sampler

def scale(x):
    return x / {}["scale"]

class Points(Dataset):
    def __init__(self, fault: str = ""):
        self.fault = fault

    def __len__(self):
        return 32

    def __getitem__(self, index):
        if self.fault == "list" and index == 7:
            torch.nn.functional.normalize([1.0])
        if self.fault == "stop" and index == 7:
            next(iter(()))
        x = torch.full((4,), float(index))
        return scale(x) if self.fault == "scale" and index == 7 else x, index % 2

class Few(Sampler):
    def __init__(self, data_source):
        pass

    def __iter__(self):
        raise ZeroDivisionError("no weights")

    def __len__(self):
        return 32

class Flatten:
    def __call__(self, batch):
        return batch[0].view(-1, 3), batch[1]
""",
    "model/broken.py": """
import torch

class Net(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.view(-1, 5))

class Halt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no gradient")

class Halted(torch.nn.Linear):
    def forward(self, x):
        return Halt.apply(super().forward(x))

def square(output, target):
    return (output - target).square().mean()

class InPlace(torch.nn.Linear):
    def forward(self, x):
        output = super().forward(x).sigmoid()
        output += 1
        return output
""",
    "trainer/broken.py": """
from trainer.trainer import Trainer

class Hooked(Trainer):
    def after_epoch(self, log, is_best):
        self.logger.info(log["nothing"])

class Stepped(Trainer):
    def train_step(self, batch):
        x, y, z = batch
        return super().train_step(batch)
""",
    "config/broken.yaml": """name: broken
arch: {type: torch.nn.Linear, args: {in_features: 4, out_features: 2}}
data_loader:
  type: DatasetLoader
  args:
    dataset: {type: broken.Points}
    batch_size: 4
    num_workers: 0
loss: cross_entropy
optimizer: {type: SGD, args: {lr: 0.1}}
trainer: {epochs: 1, tensorboard: false}
""",
}
DATASET = "data_loader.args.dataset.args"
NET = "arch={type: broken.Net, args: {in_features: 5, out_features: 2}}"
VALID = "{type: DatasetLoader, args: {dataset: {type: broken.Points, args: {fault: scale}}}}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("project"), leave_out=("tests",))
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [f"{DATASET}={{fault: scale}}"],
            f"{DATASET[:-5]}: Points failed at data_loader/broken.py:6, with x: (4,) float32",
        ),
        (
            [f"{DATASET}={{fault: scale}}", "data_loader.args.num_workers=1"],
            f"config/broken.yaml:6:5: {DATASET[:-5]}: Points failed at data_loader/broken.py:6",
        ),
        (
            [f"{DATASET}={{fault: list}}"],
            f"{DATASET[:-5]}: Points failed at data_loader/broken.py:17, with index: 7",
        ),
        (
            [f"{DATASET}={{fault: stop}}"],
            f"{DATASET[:-5]}: Points failed at data_loader/broken.py:19, with index: 7",
        ),
        (
            [f"valid_data_loader={VALID}"],
            "valid_data_loader.args.dataset: Points failed at data_loader/broken.py:6",
        ),
        (
            ["data_loader.args.sampler={type: broken.Few}"],
            "data_loader.args.sampler: Few failed at data_loader/broken.py:28",
        ),
        (
            ["data_loader.args.batch_transform={type: broken.Flatten}"],
            "Flatten failed at data_loader/broken.py:35, with batch: list of 2 ((4, 4) float32, ",
        ),
        ([NET], "arch: Net failed at model/broken.py:6, with x: (4, 4) float32"),
        (
            ["arch.args.in_features=9"],
            "config/broken.yaml:2:1: arch: Linear failed, with input: (4, 4) float32",
        ),
        (
            ["loss=broken.square"],
            "loss: square failed at model/broken.py:22, with output: (4, 2) float32, target: (4,) ",
        ),
        (
            ["arch.type=broken.Halted"],
            "model/broken.py:15: backward failed, with gradient: (4, 2) float32",
        ),
        (
            ["arch.type=broken.InPlace"],
            "changed in place, as `x += 1` does: write `x = x + 1`; to see its line, write "
            "`torch.autograd.set_detect_anomaly(True)`",
        ),
        (["loss=mse_loss"], "loss: mse_loss failed, with input: (4, 2) float32, target: (4,) "),
        (
            ["trainer.type=broken.Stepped"],
            "config/broken.yaml:11:1: trainer: Stepped failed at trainer/broken.py:10, with batch:",
        ),
        (
            ["trainer.type=broken.Hooked"],
            "config/broken.yaml:11:1: trainer: Hooked failed at trainer/broken.py:6, with log: ",
        ),
    ],
)
def test_the_last_line_names_the_component(project: Path, words: list[str], message: str) -> None:
    ended = run_forked("train.py", "-c", "broken.yaml", *words, cwd=project)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert message in ended.stderr.strip().splitlines()[-1]
