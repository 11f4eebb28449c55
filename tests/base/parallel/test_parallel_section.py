"""Mistakes in the section ``parallel`` of a config."""

from __future__ import annotations

import pytest

from base.parallel.ddp import DDP
from tests.base.parallel.spread_runs import table_config
from tests.helpers import make_trainer
from tests.ranks import in_ranks
from utils.errors import UserError


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "ddpp"}, "did you mean 'ddp'"),
        ({"type": "ddp", "args": {"num_procs": 2}}, "did you mean 'num_processes'"),
        ({"type": "ddp", "args": {"num_processes": 0}}, "num_processes=0 must lie between 1 and"),
        ({"type": "ddp", "args": {"timeout_seconds": 0}}, "timeout_seconds=0 must be above 0"),
        (
            {"type": "ddp", "args": {"sync_batch_norm": True}},
            "sync_batch_norm: torch supports it on accel",
        ),
        (
            {"type": "ddp", "args": {"static_graph": True}},
            "static_graph: does not work with trainer.accumulation_steps",
        ),
    ],
)
def test_a_mistake_in_the_section_is_an_error(tmp_path, section, message):
    with pytest.raises(UserError, match=message):
        make_trainer(table_config(tmp_path, accumulation_steps=2) | {"parallel": section})


def test_static_graph_finds_unused_parameters_itself():
    with pytest.raises(UserError, match="has no effect with static_graph"):
        DDP(static_graph=True, find_unused_parameters=True).check({"trainer": {}})


@pytest.mark.parametrize("kind", ["none", "dp"])
def test_a_strategy_of_one_process_refuses_several(tmp_path, kind):
    with pytest.raises(AssertionError, match=f"is {kind}, but 2 processes were started"):
        in_ranks(2, make_trainer, table_config(tmp_path) | {"parallel": {"type": kind}})
