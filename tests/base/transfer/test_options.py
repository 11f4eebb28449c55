"""What the ``transfer`` section refuses, under the key that is wrong."""

from __future__ import annotations

import pytest

from base.transfer.options import Head, ParamGroup, Thaw, TransferOptions
from utils.errors import UserError


@pytest.mark.parametrize(
    ("make", "keys"),
    [
        (lambda: Head(0), ["num_classes"]),
        (lambda: Thaw(0, "*", lr_scale=0.0), ["epoch", "lr_scale"]),
        (lambda: Thaw(1, "*", lr_scale=float("nan")), ["lr_scale"]),
        (lambda: ParamGroup("*"), ["params"]),
        (lambda: ParamGroup("*", lr=1.0, lr_scale=2.0), ["lr"]),
        (lambda: ParamGroup("*", lr=-1.0, weight_decay=-1.0), ["lr", "weight_decay"]),
        (lambda: TransferOptions(min_match=2, freeze=0), ["min_match", "freeze"]),
        (lambda: TransferOptions(layer_decay=0), ["layer_decay"]),
        (lambda: TransferOptions(thaw=[Thaw(2, "*")], rename={"a": "b"}), ["thaw", "rename"]),
        (lambda: TransferOptions(init_ema=True), ["init_ema"]),
        (lambda: TransferOptions(cache_features=True), ["cache_features"]),
        (
            lambda: TransferOptions(freeze=1, cache_features=True, thaw=[Thaw(2, "*")]),
            ["cache_features"],
        ),
        (
            lambda: TransferOptions(freeze=1, thaw=[Thaw(2, "*"), Thaw(9, "*")]).check_epochs(5),
            ["thaw.1.epoch"],
        ),
    ],
)
def test_a_wrong_value_is_an_error_under_its_key(make, keys):
    with pytest.raises(UserError) as caught:
        make()
    assert [problem.key for problem in caught.value.problems] == keys


def test_zero_is_a_valid_rate():
    assert ParamGroup("*", lr=0.0).lr == 0
    assert ParamGroup("*", weight_decay=0.0).weight_decay == 0
