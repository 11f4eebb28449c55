"""A small experiment: as a ConfigParser, and as two YAML files for ``python -m config``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from base.schema import SCHEMA
from config import ConfigParser

Look = Callable[..., tuple[int, str, str]]  # gives exit status, standard output and error

CONFIG: dict[str, Any] = {
    "name": "probe",
    "seed": 7,
    "n_gpu": 0,
    "arch": {"type": "SmallConvNet", "args": {"width": 4}},
    "data_loader": {
        "type": "DigitsDataLoader",
        "args": {"batch_size": 128, "validation_split": 0.2},
    },
    "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "trainer": {"epochs": 1, "save_dir": "saved/"},
    "extra": {"list": [1, {"deep": 2}], "off": None},
}


BASE_YAML = """\
name: probe
n_gpu: 0
arch: {type: SmallConvNet, args: {width: 8, dropout: 0.5}}
data_loader: {type: DigitsDataLoader, args: {batch_size: 128}}
optimizer:
  type: Adam
  args: {lr: "${rate}"}
rate: 1e-3
loss: cross_entropy
metrics: [accuracy, {type: top_k_acc, args: {k: 2}}]
trainer: {epochs: 2}
"""
CHILD_YAML = """\
extends: base.yaml
name: child
arch:
  args: {width: 16, ~dropout: }
"""


def make_parser(**changes: Any) -> ConfigParser:
    """Returns the ConfigParser of CONFIG after changes, unchecked."""
    parser = ConfigParser(copy.deepcopy(CONFIG) | changes, run_id="run")
    parser.schema = SCHEMA
    return parser
