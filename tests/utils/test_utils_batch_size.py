"""The number of samples in a batch, for which the loader has read a known number."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from utils.batch import count_samples, is_empty


class Graphs:
    """A batch of graphs."""

    num_graphs = 3


@pytest.mark.parametrize(
    ("num_read", "batch", "n"),
    [
        (8, (torch.ones(8, 12, 5), (torch.ones(14), torch.ones(8))), 8),  # CTC
        (4, (torch.ones(7, 4, 2), torch.ones(7, 4)), 4),  # time first
        (8, (torch.ones(6, 2), torch.ones(6)), 6),  # the collate function left two samples out
        (1, (torch.ones(32, 2), torch.ones(32)), 32),  # a sample is a batch
        (3, ([torch.ones(1), torch.ones(2)], [{}, {}]), 2),  # detection
        (3, (Graphs(), torch.ones(40)), 40),
        (5, (Graphs(), None), 5),
        (None, (torch.ones(4, 2), torch.ones(4)), 4),
        (None, (torch.ones(8, 12, 5), (torch.ones(14), torch.ones(8))), 8),
        (None, (torch.ones(8, 12, 5), {"flat": torch.ones(14), "lengths": torch.ones(8)}), 8),
    ],
)
def test_the_loader_knows_the_number_of_samples(num_read: int | None, batch: Any, n: int) -> None:
    assert count_samples(num_read, batch[1], None, batch) == n


@pytest.mark.parametrize(
    ("batch", "empty"),
    [
        ((torch.ones(0, 2), torch.ones(0)), True),
        ({"x": torch.ones(0, 2), "scale": torch.tensor(1.0)}, True),
        (([], []), True),
        (None, True),
        ((torch.ones(1), torch.ones(0)), False),
        (([torch.ones(2)], [{"boxes": torch.ones(0, 4)}]), False),
        ({"text": ["a"]}, False),
        (Graphs(), False),
    ],
)
def test_a_batch_is_empty_if_nothing_in_it_has_a_length(batch: Any, empty: bool) -> None:
    assert is_empty(batch) is empty
