"""Transforms of targets: their inverses, their state, and those of scikit-learn."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from base.data.target_transforms import (
    LogStandardize,
    Standardize,
    TargetTransform,
    as_target_transform,
)
from base.data.units import TargetUnits
from data_loader.series import WindowDataset
from utils.errors import UserError


class Log1p(TargetTransform):
    """A transform without numbers of its own."""

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return values.log1p()

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return values.expm1()


def make_quantiles() -> Any:
    return QuantileTransformer(n_quantiles=20, output_distribution="normal")


OF_SKLEARN = [StandardScaler, MinMaxScaler, PowerTransformer, make_quantiles]
MAKERS = [Log1p, Standardize, LogStandardize, *OF_SKLEARN]


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


@pytest.mark.parametrize("make", [*OF_SKLEARN, partial(MinMaxScaler, clip=True)])
def test_scikit_learn_gives_the_same_numbers(make: Any) -> None:
    values = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 90 + 5
    transform = as_target_transform(make())
    transform.fit(values)
    other = values * 2  # also beyond the values that it was fitted on
    expected = make().fit(values.double().numpy()).transform(other.double().numpy())
    assert torch.allclose(transform(other).double(), torch.from_numpy(expected), atol=1e-5)


def test_a_transform_without_an_inverse_is_refused() -> None:
    with pytest.raises(UserError, match=r"^target_transform: Normalizer has no inverse"):
        as_target_transform(Normalizer())
    with pytest.raises(UserError, match=r"SimpleNamespace must derive from base\.data\.target"):
        as_target_transform(SimpleNamespace(inverse=abs))


def test_a_transform_without_numbers_scales_windows() -> None:
    dataset = WindowDataset(torch.arange(20.0), 4, 2, target_transform=Log1p())
    dataset.fit_to([0, 1, 2])
    assert torch.allclose(dataset[0][1], torch.tensor([4.0, 5.0]).log1p())


class Forgetful(Log1p):
    """Keeps nothing for checkpoints."""

    def fit(self, values: torch.Tensor) -> None:
        self.mean = float(values.mean())


def make_forgetful_pipeline() -> Any:
    return make_pipeline(StandardScaler())


@pytest.mark.parametrize("make", [Forgetful, make_forgetful_pipeline, KBinsDiscretizer])
def test_a_transform_that_a_checkpoint_cannot_hold_is_refused(make: Any) -> None:
    dataset = WindowDataset(torch.arange(20.0), 4, 2, target_transform=make())
    with pytest.raises(UserError, match=r"^target_transform: .*(self\.state|cannot transform)"):
        dataset.fit_to([0, 1, 2])


def test_a_dataset_may_have_a_plain_scaler_of_scikit_learn() -> None:
    units = TargetUnits(StandardScaler().fit([[0.0], [10.0]]))
    output, target = units.to_real(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert (output.item(), target.item()) == (10.0, 0.0)
    assert units.scale(torch.tensor([10.0])).item() == 1.0
    assert units.invert({"boxes": 1}) == {"boxes": 1}


def test_an_output_with_hidden_states_and_its_target_both_stay_scaled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    units = TargetUnits(StandardScaler().fit([[0.0], [10.0]]))
    output, target = (torch.tensor([1.0]), torch.zeros(2)), torch.tensor([-1.0])
    assert units.to_real(output, target) == (output, target)
    assert units.to_real(output, target) == (output, target)
    assert caplog.text.count("metrics are of scaled values, because the output is a tuple") == 1


def test_several_quantiles_of_several_targets_are_in_the_unit_of_each() -> None:
    transform = Standardize()
    transform.fit(torch.tensor([[0.0, 100.0], [2.0, 300.0]]))
    output = torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]])  # (N, targets, quantiles)
    found, target = TargetUnits(transform).to_real(output, torch.zeros(1, 2))
    assert found.tolist() == [[[0, 2], [100, 300]]]
    assert target.tolist() == [[1, 200]]
    units = TargetUnits(StandardScaler().fit([[0.0], [10.0]]))
    assert units.to_real(torch.tensor([[-1.0, 1.0]]), torch.zeros(1))[0].tolist() == [[0, 10]]
