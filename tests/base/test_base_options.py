"""The options of every trainer."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from base.feature_options import DebugOptions, ProfileOptions, SWAOptions, WandbOptions
from base.options import TrainerOptions, parse_monitor
from tests.helpers import make_trainer, small_config
from utils.errors import UserError

EMA_WARMUP = ["ema_warmup", "ema_warmup_power"]
SWA_VALUES = ["start", "steps", "batch_norm_batches"]


@pytest.mark.parametrize(
    ("monitor", "parsed"),
    [
        ("off", ("off", "")),
        ("min val_loss", ("min", "val_loss")),
        ("max val_accuracy", ("max", "val_accuracy")),
        ("max  val_accuracy ", ("max", "val_accuracy")),
    ],
)
def test_a_monitor_is_a_mode_and_a_metric(monitor: str, parsed: tuple[str, str]) -> None:
    assert parse_monitor(monitor) == parsed


@pytest.mark.parametrize(
    "monitor", ["", "min", "max ", "val_loss", "lowest val_loss", "Off", "MIN val_loss"]
)
def test_any_other_monitor_is_refused_with_an_example(monitor: str) -> None:
    with pytest.raises(
        UserError, match="must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'"
    ):
        parse_monitor(monitor)


@pytest.mark.parametrize(
    ("early_stop", "patience"), [(None, inf), (0, inf), (-1, inf), (inf, inf), (3, 3), (1.5, 1.5)]
)
def test_patience_is_early_stop_where_that_is_positive(
    early_stop: float | None, patience: float
) -> None:
    assert TrainerOptions(epochs=1, early_stop=early_stop).patience == patience


@pytest.mark.parametrize(
    ("make", "keys"),
    [
        (lambda: TrainerOptions(0), ["epochs"]),
        (lambda: TrainerOptions(1, keep_best=0, warmup_steps=-1), ["keep_best", "warmup_steps"]),
        (
            lambda: TrainerOptions(1, save_minutes=0, max_minutes=-1),
            ["save_minutes", "max_minutes"],
        ),
        (lambda: TrainerOptions(1, ema_decay=0, monitor="low"), ["ema_decay", "monitor"]),
        (
            lambda: TrainerOptions(1, sharded_checkpoint=True, async_save=True),
            ["sharded_checkpoint"],
        ),
        (lambda: TrainerOptions(1, compile=True, debug=DebugOptions(detect_nan=True)), ["debug"]),
        (lambda: TrainerOptions(1, grad_clip_value=0), ["grad_clip_value"]),
        (lambda: TrainerOptions(1, grad_clip_value=1, grad_clip_norm=1), ["grad_clip_value"]),
        (lambda: TrainerOptions(1, ema_warmup=True, ema_warmup_power=0), EMA_WARMUP),
        (lambda: TrainerOptions(1, ema_decay=0.9, ema_warmup_gamma=2), ["ema_warmup_gamma"]),
        (lambda: TrainerOptions(2, swa=SWAOptions(start=3)), ["swa.start"]),
        (lambda: SWAOptions(start=1.5, steps=0, batch_norm_batches=0), SWA_VALUES),
        (lambda: SWAOptions(start=nan), ["start"]),
        (
            lambda: TrainerOptions(1, compile=True, activation_checkpointing="x"),
            ["activation_checkpointing"],
        ),
        (lambda: DebugOptions(overfit_batches=-1), ["overfit_batches"]),
        (lambda: ProfileOptions(wait=-1, active=0), ["wait", "active"]),
    ],
)
def test_a_wrong_value_is_an_error_under_its_key(make: Any, keys: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert sorted(problem.key for problem in caught.value.problems) == sorted(keys)


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 27), (4, 9), (9, 3), (100, 3)])
def test_the_steps_of_a_run_follow_from_its_batches(accumulation: int, steps: int) -> None:
    options = TrainerOptions(epochs=3, accumulation_steps=accumulation, warmup_steps=steps)
    assert options.check_length(batches=9) == steps


def test_a_warm_up_longer_than_the_run_is_an_error() -> None:
    with pytest.raises(UserError, match=r"trainer.warmup_steps: 10 is more than the 9 optimizer"):
        TrainerOptions(epochs=1, warmup_steps=10).check_length(batches=9)


def test_a_limit_shortens_the_run(tmp_path: Path) -> None:
    options = TrainerOptions(epochs=2, limit_batches=5, accumulation_steps=2)
    assert [options.limit(batches) for batches in (9, 4, None)] == [5, 4, 5]
    assert [TrainerOptions(epochs=2).limit(batches) for batches in (9, None)] == [9, None]
    for length, key in (({}, "warmup_steps"), ({"len_epoch": 9}, "warmup_steps")):
        section = {"limit_batches": 5, "warmup_steps": 11} | length
        with pytest.raises(UserError, match=rf"trainer.{key}: 11 is more than the 10 optimizer"):
            make_trainer(small_config(tmp_path, **section))


@pytest.mark.parametrize("value", [0, -3, 1.5, "all", True])
def test_a_limit_is_at_least_one_batch(tmp_path: Path, value: object) -> None:
    with pytest.raises(
        UserError, match=r"trainer.limit_batches: (wants int|-?\d must be at least)"
    ):
        make_trainer(small_config(tmp_path, limit_batches=value))


def test_the_options_that_need_an_update_are_listed_if_they_are_in_use() -> None:
    assert TrainerOptions(epochs=1).list_needing_update() == []
    debug = DebugOptions(statistics=True, overfit_batches=1)
    options = TrainerOptions(epochs=1, precision="bf16", ema_decay=0.9, debug=debug)
    assert options.list_needing_update() == ["precision", "ema_decay", "debug.statistics"]


def test_averages_and_clipping_need_an_update() -> None:
    options = TrainerOptions(epochs=1, grad_clip_value=0.1, ema_decay=0.9, swa=SWAOptions())
    assert options.list_needing_update() == ["grad_clip_value", "ema_decay", "swa"]
    assert options.list_averages() == ["ema", "swa"]
    assert options.without_averages().list_averages() == []


def test_the_options_of_optional_features_are_listed_if_they_are_in_use() -> None:
    assert TrainerOptions(epochs=1).list_served_by_features() == []
    options = TrainerOptions(epochs=1, histogram_period=2, wandb=WandbOptions("p"))
    assert options.list_served_by_features() == ["histogram_period", "wandb"]
