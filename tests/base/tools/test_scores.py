"""The scores of a test set."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from base.loop.metrics import MetricSet
from base.loop.reporter import SetResult
from base.loop.reporter import TestSubject as Subject  # pytest collects classes named Test…
from base.tools.scores import Scores


def test_data_whose_targets_are_all_ignored_have_no_numbers() -> None:
    criterion, device = nn.CrossEntropyLoss(ignore_index=255), torch.device("cpu")
    subject = Subject(nn.Linear(1, 1), criterion, [], device, Path("a.pt"), 3, "weights", "data")
    scores = Scores(SetResult("", [], {}, MetricSet([]), 0), subject)
    assert scores.format_lines()[0] == "  No numbers: no target of these data counts."
