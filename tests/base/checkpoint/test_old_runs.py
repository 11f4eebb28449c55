"""Runs of an earlier version of this framework resume, and end with the numbers of that version.

``tests/fixtures/runs`` holds them. Their metrics.jsonl is of the full run, without a stop.
"""

from __future__ import annotations

import json
import shutil

import pytest

from base.checkpoint.file import load
from tests.base.checkpoint.resumed_runs import read_lines
from tests.base.parallel.spread_runs import check_same_lines, train
from tests.helpers import ROOT
from tests.ranks import in_ranks
from utils.checkpoints import list_checkpoints

RUNS = ROOT / "tests/fixtures/runs"
TRAINING_NUMBERS = ("lr", "loss", "accuracy", "step")
RANKS = {"plain": 1, "ddp": 2, "sharded": 2}


def test_every_run_of_the_fixtures_is_tested():
    assert set(RANKS) == {path.name for path in RUNS.iterdir()}


@pytest.mark.parametrize("name", RANKS)
def test_a_run_of_an_earlier_version_resumes_to_the_same_numbers(tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(RUNS / name, folder)
    (checkpoint,) = list_checkpoints(folder)
    before = load(checkpoint)
    config = json.loads((folder / "config.json").read_text())
    if RANKS[name] == 1:
        train(config, None, checkpoint)
    else:
        in_ranks(RANKS[name], train, config, None, checkpoint)
    # Processors round differently. After that, one sample of the validation may change its class.
    check_same_lines(folder, RUNS / name, rel=2e-2)
    for line, expected in zip(read_lines(folder), read_lines(RUNS / name), strict=True):
        for key in TRAINING_NUMBERS:
            assert line[key] == pytest.approx(expected[key], rel=1e-4), key
    after = load(list_checkpoints(folder)[0])
    assert after.keys() == before.keys() - {"within"}  # which tells the position in an epoch
    assert after["epoch"] == config["trainer"]["epochs"]
    assert after["step"] == read_lines(folder)[-1]["step"]
    assert after["monitor_best"] == max(line["val_accuracy"] for line in read_lines(folder))
    assert load(folder / "model_best.pt")["monitor_best"] == after["monitor_best"]
