"""Transforms of targets: their inverses, their state, and those of scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, Normalizer, PowerTransformer, StandardScaler

from base.data.target_transforms import LogStandardize, Standardize, as_target_transform
from base.data.units import TargetUnits
from utils.errors import UserError

MAKERS = [Standardize, LogStandardize, StandardScaler, MinMaxScaler, PowerTransformer]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_transform_has_an_inverse_and_its_state_survives_a_checkpoint(
    make: Any, n_outputs: int
) -> None:
    values = torch.rand(50, n_outputs, generator=torch.Generator().manual_seed(1)) * 90 + 5
    first, second = as_target_transform(make()), as_target_transform(make())
    first.fit(values)
    second.state = json.loads(json.dumps(first.state))
    shaped = values[:, 0] if n_outputs == 1 else values.reshape(10, 5, n_outputs)
    scaled = first(shaped)
    assert scaled.shape == shaped.shape
    assert torch.equal(second(shaped), scaled)
    assert torch.allclose(second.inverse(scaled), shaped, rtol=1e-4)


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler, PowerTransformer])
def test_scikit_learn_gives_the_same_numbers(make: Any) -> None:
    values = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 90 + 5
    transform = as_target_transform(make())
    transform.fit(values)
    expected = make().fit_transform(values.double().numpy())
    assert torch.allclose(transform(values).double(), torch.from_numpy(expected), atol=1e-5)


def test_a_transform_without_an_inverse_is_refused() -> None:
    with pytest.raises(UserError, match=r"^target_transform: Normalizer has no inverse"):
        as_target_transform(Normalizer())


def test_a_dataset_may_have_a_plain_scaler_of_scikit_learn() -> None:
    units = TargetUnits(StandardScaler().fit([[0.0], [10.0]]))
    output, target = units.to_real(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert (output.item(), target.item()) == (10.0, 0.0)
    assert units.scale(torch.tensor([10.0])).item() == 1.0
    assert units.invert({"boxes": 1}) == {"boxes": 1}
