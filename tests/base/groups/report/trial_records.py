"""Trials of a search that no run has made: a function of three parameters."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

from base.groups.plan.space import Choices, Range
from base.groups.study.records import FAILED, FINISHED, PRUNED, TrialRecord
from base.tools.run_record import Objective

ACCURACY = Objective("max", "val_accuracy")
SPACE = {
    "optimizer.args.lr": Range(1e-4, 1e-1, log=True),
    "data_loader.args.batch_size": Choices([32, 64, 128]),
    "arch": Choices([{"type": "SmallConvNet"}, {"type": "resnet.ResNet20"}]),
}
START = datetime(2026, 3, 1, 9)
NO_MEMORY = "Traceback (most recent call last):\nRuntimeError: needs {} MiB"


def make_values(draw: random.Random) -> dict[str, Any]:
    """Draws a value for each key of SPACE."""
    return {
        "optimizer.args.lr": 10 ** draw.uniform(-4, -1),
        "data_loader.args.batch_size": draw.choice([32, 64, 128]),
        "arch": draw.choice([{"type": "SmallConvNet"}, {"type": "resnet.ResNet20"}]),
    }


def make_trials(number: int, seed: int = 0) -> list[TrialRecord]:
    """Makes finished trials; every seventh is pruned, and every ninth fails."""
    draw = random.Random(seed)
    trials = []
    for index in range(number):
        values = make_values(draw)
        best = 0.95 - 0.05 * abs(math.log10(values["optimizer.args.lr"]) + 2)
        reports = {step: best - 0.3 / step + 0.01 * draw.random() for step in range(1, 6)}
        state, message = FINISHED, ""
        if index % 7 == 5:
            state, reports = PRUNED, {step: reports[step] for step in (1, 2)}
        elif index % 9 == 8:
            state, reports, message = FAILED, {}, NO_MEMORY.format(index)
        score = reports[max(reports)] if reports else None
        started = START + timedelta(minutes=index)
        ended = started + timedelta(seconds=90)
        trials.append(TrialRecord(index, state, values, score, reports, message, started, ended))
    return trials
