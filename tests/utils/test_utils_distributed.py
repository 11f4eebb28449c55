"""What ranks know of each other and exchange, and what a single process gets instead."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from tests.ranks import Program, in_ranks, make_environment, make_store
from utils import distributed
from utils.distributed import Votes, init_distributed
from utils.world import ProcessSettings

UINT32 = torch.tensor(2**32 - 1, dtype=torch.uint32)  # of states of NumPy's generators


def test_a_process_by_itself_is_rank_0_of_1() -> None:
    with init_distributed(ProcessSettings()), distributed.main_process_first():
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert (distributed.local_rank(), distributed.local_world_size()) == (0, 1)
        assert distributed.is_main()
        assert distributed.all_gather("a") == ["a"]
        assert distributed.broadcast("a") == "a"
        distributed.barrier()
        distributed.set_run_folder("saved/a")
        assert distributed.get_restarted_run_folder() is None


def test_an_activity_is_set_and_the_one_before_is_returned() -> None:
    before = distributed.set_activity("the training of epoch 1")
    assert distributed.set_activity("the validation of epoch 1") == "the training of epoch 1"
    assert distributed.set_activity(before) == "the validation of epoch 1"


def test_ranks_exchange_values() -> None:
    for rank, found in enumerate(in_ranks(3, exchange)):
        assert found == {
            "numbers": (rank, rank, 3, 3),
            "is_main": rank == 0,
            "all_gather": [0, 10, 20],
            "broadcast": {"from": 0, "state": UINT32},
            "received": ["a", 1],
        }


def exchange() -> dict[str, Any]:
    rank = distributed.rank()
    if rank == 0:
        distributed.send_to_local_ranks("pair", ["a", 1])
    return {
        "numbers": (
            rank,
            distributed.local_rank(),
            distributed.world_size(),
            distributed.local_world_size(),
        ),
        "is_main": distributed.is_main(),
        "all_gather": distributed.all_gather(10 * rank),
        "broadcast": distributed.broadcast({"from": rank, "state": UINT32}),
        "received": distributed.receive_from_first_local_rank("pair"),
    }


def test_the_main_process_goes_first() -> None:
    (_, main_left), (other_entered, _) = in_ranks(2, go_first)
    assert main_left <= other_entered


def go_first() -> tuple[float, float]:
    with distributed.main_process_first():
        entered = time.monotonic()
        time.sleep(0.2)
        left = time.monotonic()
    return entered, left


@pytest.mark.parametrize("wait", [False, True])
def test_votes_are_known_one_call_later_or_at_once(wait: bool) -> None:
    expected = [[2, 7], [0, 9]] if wait else [[0, 0], [2, 7]]
    assert in_ranks(2, vote, wait) == [expected, expected]


def vote(wait: bool) -> list[list[int]]:
    votes = Votes()
    rank = distributed.rank()
    first = votes.cast(2 * rank, 7 - rank, wait=wait)
    second = votes.cast(0, 8 + rank, wait=wait)
    return [first, second]


def test_votes_that_wait_count_the_call_before_too() -> None:
    assert in_ranks(2, vote_late) == [[5, 1], [5, 1]]


def vote_late() -> list[int]:
    votes = Votes()
    votes.cast(5 * distributed.rank(), 0)
    return votes.cast(0, 1, wait=True)


# A rank of two, the other of which never starts.
WAITS = """
from utils.distributed import init_distributed
from utils.world import ProcessSettings
from utils.main import run_main

def main():
    with init_distributed(ProcessSettings(n_gpu=0, start_timeout_seconds=1)):
        print("connected")

run_main(main)
"""


def test_a_process_that_waits_for_the_others_in_vain_ends_in_one_line() -> None:
    environment = make_environment(0, 2, make_store())
    done = Program("-c", WAITS, **environment).end(60)
    assert (done.code, done.out) == (2, "")
    *warnings, line = done.err.splitlines()
    assert line.startswith("parallel: not all of the 2 processes have connected within 1 s: ")
    assert all(warning.startswith("[W") for warning in warnings)  # torch's own
