"""A small experiment, and a user's files with mistakes in them: FOLDER/probe.py."""

from __future__ import annotations

CONFIG = """\
name: probe
n_gpu: 0
arch: {type: SmallConvNet, args: {width: 4}}
data_loader: {type: DigitsDataLoader, args: {batch_size: 128, validation_split: 0.2}}
optimizer: {type: Adam, args: {lr: 0.01}}
loss: cross_entropy
metrics: [accuracy, top_k_acc]
trainer: {epochs: 3}
"""

# The source of FOLDER/probe.py, by folder.
FILES = {
    "data_loader": """
import torch
from torch.utils.data import Dataset, IterableDataset
IMAGE, REQUESTED = torch.zeros(1, 8, 8), []
class Counting(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        REQUESTED.append(index)
        return IMAGE, index % 10
class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield IMAGE, 3
class Broken(Counting):
    def __getitem__(self, index):
        return {}["of mine"]
class BrokenTransform:
    def __call__(self, image):
        raise ValueError("of mine")
""",
    "model": """
import builtins
from base import BaseModel
from model.model import SmallConvNet
class BrokenInit(BaseModel):
    def __init__(self, error: str):
        raise getattr(builtins, error)("of mine")
class BrokenForward(SmallConvNet):
    def forward(self, x):
        return self.undefined(x)
class Frozen(SmallConvNet):
    def __init__(self):
        super().__init__(width=4)
        next(self.parameters()).requires_grad_(False)
def broken_loss(output, target):
    raise RuntimeError("of mine")
def broken_metric(output, target):
    return 1 / 0
""",
    "trainer": """
from trainer.trainer import Trainer
class Broken(Trainer):
    def train_step(self, batch):
        raise AttributeError("of mine")
""",
}
