"""Checkpoints that can be loaded and hold values of wrong types, sizes and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from tests.fuzz.hostile_names import BIDI, CLEAR, TITLE, fill_slots, make_config
from tests.fuzz.hostile_runs import Case, change_state, set_value

HUGE = torch.zeros(1).expand(10**12)  # takes four bytes
WEIGHT = "weight"
# Paths in the state, and the values that each gets in turn.
VALUES: dict[str, list[Any]] = {
    "state_dict": [
        [],
        None,
        "text",
        5,
        {},
        {WEIGHT: HUGE},
        {CLEAR: HUGE},
        {f"a\nb{TITLE}": 1},
        {1: HUGE, "a": 1},
    ],
    "epoch": ["1", -5, 1e300, True, 10**30, None, [1], 10**5000],
    "step": ["x", None],
    "config": [
        "text",
        None,
        [],
        {},
        {"name": CLEAR},
        {"trainer": 5},
        make_config(name="../x"),
        fill_slots("os.system"),
    ],
    "config/name": [f"{CLEAR}", "../../outside", 5],
    "config/optimizer": [
        5,
        {"type": f"{CLEAR}"},
        {"type": 5},
        {"type": "Adam", "args": {f"{TITLE}{BIDI}": 1}},
    ],
    "config/trainer": [5, {"monitor": CLEAR}, {"monitor": ["min val_loss"]}],
    "config/lr_scheduler": [CLEAR, 5],
    "optimizer": [
        [],
        None,
        {},
        {"param_groups": 5, "state": 5},
        {"param_groups": [5], "state": {}},
    ],
    "optimizer/param_groups": [CLEAR, [{}], [{"params": [0], CLEAR: 1}]],
    "optimizer/state": [{}, {0: {"exp_avg": HUGE, "step": 1}}, {0: {"step": "x"}}, {0: 5}, "text"],
    "monitor_best": ["x", None, [], float("nan")],
    "not_improved_count": ["x", None, -(10**9)],
    "parts": [None, [], "text", {"update": 5}, {"update": {}}, {"lr_scheduler": 5}],
    "parts/update": [
        None,
        {"steps": "x", "scaler": None, "ema": None},
        {"steps": 1, "scaler": {}, "ema": CLEAR},
    ],
    "parts/update/ema": [{}, {"n_averaged": 1}, {f"module.{CLEAR}": 1}, [1]],
    "parts/lr_scheduler": [{"step": 1}, {"optimizer": 5}, {"last_epoch": "x"}, {"base_lrs": CLEAR}],
    "loader": [5, "text", {}, {"passes": "x"}, {"seed": "x", "passes": -1}],
    "random": [None, {}, {"python": 5}, {"python": [3, [1], None]}],
    "random/torch": [HUGE, torch.zeros(3), "text"],
    "random/numpy": [5, {"bit_generator": "os.system"}],
    "format": [99, CLEAR],
    CLEAR: [{TITLE: BIDI}],
}
WEIGHTS: dict[str, Any] = {
    "text": "text",
    "None": None,
    "meta": torch.zeros(1, device="meta"),
    "sparse": torch.eye(3).to_sparse(),
    "complex": torch.zeros(3, dtype=torch.complex64),
    "a parameter that is huge": HUGE,
}


def states() -> Iterator[Case]:
    for path, values in VALUES.items():
        for number, value in enumerate(values, start=1):
            what = f"{type(value).__name__} (no. {number})"
            yield Case(f"state: {path!r} is a {what}", set_value(path, value), may_pass=True)
    yield Case("state: a list", change_state(lambda state: [state]))
    only_weights = change_state(lambda state: state["state_dict"])
    yield Case("state: nothing but weights", only_weights, may_pass=True)


def weights() -> Iterator[Case]:
    for what, value in WEIGHTS.items():
        make = change_state(lambda state, value=value: set_first_weight(state, value))
        yield Case(f"state: a weight that is {what}", make, may_pass=True)


def set_first_weight(state: dict[str, Any], value: Any) -> None:
    first = next(iter(state["state_dict"]))
    if isinstance(value, torch.Tensor) and value.is_meta:
        value = torch.empty_like(state["state_dict"][first], device="meta")
    state["state_dict"][first] = value
