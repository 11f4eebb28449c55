"""Runs with sharded checkpoints."""

from __future__ import annotations

from base.checkpoint.file import load
from base.checkpoint.sharded import SUFFIX, find_shards
from tests.base.parallel.spread_runs import FSDP_SECTION, table_config
from utils.checkpoints import list_checkpoints


def sharded_config(tmp_path, **trainer):
    options = {"epochs": 2, "sharded_checkpoint": True} | trainer
    return table_config(tmp_path, **options) | FSDP_SECTION


def check_folder(folder):
    """Every checkpoint can be read, and every folder of shards belongs to one.

    Returns:
        The checkpoints.
    """
    found = sorted(folder.glob("*.pt"))
    for path in found:
        load(path)
    assert {find_shards(path) for path in found} - {None} == set(folder.glob(f"*{SUFFIX}"))
    return found


def load_last_sharded(folder):
    """The newest checkpoint of a run, with the tensors in its shards."""
    return load(list_checkpoints(folder)[0])
