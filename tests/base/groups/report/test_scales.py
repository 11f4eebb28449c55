"""Where scores and values lie on the axes of charts, and the names of parameters."""

from __future__ import annotations

import math

import pytest

from base.groups.plan.space import Choices, Range
from base.groups.report.scales import ScoreScale, make_scales, shorten_keys
from base.groups.study.records import FINISHED, PRUNED, TrialRecord


def test_a_score_far_from_the_others_does_not_set_the_limits() -> None:
    scale = ScoreScale.from_scores([0.1, 0.2, 0.3, 1e9, math.inf], "min")
    assert scale is not None
    assert scale.low == 0.1
    assert 0.3 < scale.high < 10
    assert scale.is_outside(1e9)
    assert scale.get_fraction(1e9) == 1
    scale = ScoreScale.from_scores([0.90, 0.91, 0.92, -50.0], "max")
    assert scale is not None
    assert scale.high == 0.92
    assert 0.5 < scale.low < 0.9


@pytest.mark.parametrize(("mode", "best"), [("min", 1.0), ("max", 3.0)])
def test_the_best_score_has_the_quality_1(mode: str, best: float) -> None:
    scale = ScoreScale.from_scores([1.0, 2.0, 3.0], mode)
    assert scale is not None
    assert scale.get_quality(best) == 1
    assert scale.get_quality(4 - best) == 0
    assert scale.worst == 4 - best


def test_a_pruned_trial_does_not_set_the_limits_of_finished_ones() -> None:
    pruned = TrialRecord(2, PRUNED, {}, 0.1)
    trials = [TrialRecord(0, FINISHED, {}, 0.5), TrialRecord(1, FINISHED, {}, 0.6), pruned]
    scale = ScoreScale.from_trials(trials, "max")
    assert scale is not None
    assert (scale.low, scale.high) == (0.5, 0.6)
    scale = ScoreScale.from_trials([trials[0], pruned], "max")
    assert scale is not None
    assert (scale.low, scale.high) == (0.1, 0.5)


def test_equal_scores_have_a_scale_and_no_scores_have_none() -> None:
    scale = ScoreScale.from_scores([0.5, 0.5], "max")
    assert scale is not None
    assert scale.get_fraction(0.5) == 0.5
    assert ScoreScale.from_scores([math.nan], "max") is None


def test_names_are_the_last_words_that_are_unique() -> None:
    keys = [
        "optimizer.args.lr",
        "lr_scheduler.args.lr",
        "arch.args.width",
        "seed",
        "args",
        "a.args",
    ]
    names = ["optimizer.lr", "lr_scheduler.lr", "width", "seed", "args", "a"]
    assert list(shorten_keys(keys).values()) == names
    assert shorten_keys(["a.b", "a.args.b"]) == {"a.b": "a.b", "a.args.b": "a.args.b"}


def test_a_logarithmic_range_has_a_logarithmic_axis() -> None:
    (scale,) = make_scales({"lr": Range(1e-4, 1e-2, log=True)}, [])
    assert scale.get_fraction(1e-3) == pytest.approx(0.5)


def test_an_axis_holds_the_values_of_all_trials() -> None:
    space = {"lr": Range(0.1, 0.2), "arch": Choices([{"type": "A"}, 1, True, None])}
    trials = [
        TrialRecord(0, FINISHED, {"lr": 0.5, "arch": {"type": "A"}}),
        TrialRecord(1, FINISHED, {"lr": 0.1, "arch": "unseen"}),
        TrialRecord(2, FINISHED, {"arch": True}),
    ]
    lr, arch = make_scales(space, trials)
    assert (lr.low, lr.high) == (0.1, 0.5)
    assert [arch.get_position(trial) for trial in trials] == [0, 4, 2]
    assert math.isnan(lr.get_position(trials[2]))


def test_a_label_is_the_type_and_its_arguments_if_these_are_unique() -> None:
    wide = {"type": "resnet.ResNet20", "args": {"width": 2}}
    (scale,) = make_scales({"arch": Choices([{"type": "SmallConvNet"}, wide])}, [])
    assert list(scale.categories.values()) == ["SmallConvNet", "ResNet20(width=2)"]
    (scale,) = make_scales({"arch": Choices([{"type": "a.Net"}, {"type": "b.Net"}])}, [])
    assert list(scale.categories.values()) == ["a.Net", "b.Net"]
