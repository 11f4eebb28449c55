"""Configs with changes: a small one, and one with components inside components."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from base.schema import SCHEMA
from config.check.preflight import check
from config.read.merge import CONFIG_DIR, apply_override
from config.read.source import read_tree
from config.read.tree import ConfigError, Tree

CONFIG: dict[str, Any] = {
    "name": "probe",
    "n_gpu": 0,
    "arch": {"type": "SmallConvNet", "args": {"width": 4}},
    "data_loader": {
        "type": "DigitsDataLoader",
        "args": {"batch_size": 128, "validation_split": 0.2},
    },
    "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "trainer": {"epochs": 1},
}


def run_check(*overrides: str, **changes: Any) -> Tree:
    """Checks CONFIG with changes and overrides; the change ``...`` removes a key."""
    data = {
        key: value for key, value in (copy.deepcopy(CONFIG) | changes).items() if value is not ...
    }
    tree = Tree(data)
    for override in overrides:
        apply_override(tree, override)
    check(tree, SCHEMA)
    return tree


def find(*overrides: str, **changes: Any) -> list[str]:
    """Returns the lines of the check, without the positions."""
    with pytest.raises(ConfigError) as caught:
        run_check(*overrides, **changes)
    return [str(finding._replace(mark=None)) for finding in caught.value.findings]


TRANSFORMS = "data_loader.args.dataset.args.transform.args.transforms"


def edit_cifar10(*overrides: str) -> dict[str, Any]:
    """Returns ``cifar10_resnet20.yaml`` as an editor sees it, after changes.

    ``T.`` stands for the keys that lead to its transforms.
    """
    tree = read_tree(CONFIG_DIR / "cifar10_resnet20.yaml")
    # The JSON Schema has the arguments of names without a path.
    tree.data["data_loader"]["args"]["dataset"]["type"] = "CIFAR10"
    for override in overrides:
        apply_override(tree, re.sub(r"^T\.", f"{TRANSFORMS}.", override))
    return tree.data
