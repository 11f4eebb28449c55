"""A model or a loss that does not take what the data give is explained in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from base.loop.evaluate import forward
from utils.errors import UserError
from utils.failure import user_error_from

TARGET = torch.tensor([0, 1])


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.layer(x) * scale


class Shaped(Linear):
    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.layer(x.reshape(2, 3))


class Faulty(Linear):
    """Its own faults have nothing to do with the inputs."""

    def __init__(self, fault: Any) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.fault(x)


LISTS = [torch.ones(2)] * 3


@pytest.mark.parametrize(
    ("model", "batch", "text"),
    [
        (Linear(), {"x": LISTS, "label": TARGET}, "the field 'x' is a list of 3 tensors, because"),
        (Shaped(), [LISTS, TARGET], "the input is a list of 3 tensors, because the samples have"),
        (Linear(), (TARGET, TARGET, TARGET, TARGET), "the batch has 3 inputs, and Linear.forward"),
        (Linear(), {"x": ["a", "b"], "label": TARGET}, "the field 'x' is a list of texts"),
        (Linear(), (None, TARGET), "the input is None"),
        (Linear(), {"x": {"y": 1}, "label": TARGET}, "the field 'x' is a dict"),
        (
            Linear(),
            {"x": 1, "id": 2, "label": TARGET},
            "Linear.forward takes no 'id', but x, scale",
        ),
        (Linear(), {"scale": 2, "label": TARGET}, "Linear.forward needs 'x', and the samples have"),
        (Linear(), {0: 1, "label": TARGET}, "the samples have a field 0"),
        (Linear(), (torch.ones(2, 3).double(), TARGET), "is float64, and the model float32; give"),
        (Linear(), (torch.ones(2, 3).long(), TARGET), "is int64, and the model float32; give"),
    ],
)
def test_inputs_that_a_model_does_not_take_are_named(model: Any, batch: Any, text: str) -> None:
    with pytest.raises(UserError, match=f"^data_loader: .*{text}"):
        forward(model, batch)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda x: torch.relu([x]), TypeError),
        (lambda x: x.shapes, AttributeError),
        (lambda x: x @ x, RuntimeError),
        (lambda x: int(x="no keyword argument"), TypeError),
    ],
)
def test_a_fault_of_the_model_keeps_its_traceback(fault: Any, kind: type[Exception]) -> None:
    batch = {"x": torch.ones(2, 3), "label": TARGET}
    with pytest.raises(kind) as caught:
        forward(Faulty(fault), batch)
    assert not isinstance(caught.value, UserError)
    assert user_error_from(caught.value) is None


@pytest.mark.parametrize("loss", [cross_entropy, mse_loss])
@pytest.mark.parametrize("target", [None, {"a": TARGET}, ["a", "b"]])
def test_a_loss_names_what_it_does_not_take(loss: Any, target: Any) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        loss(torch.ones(2, 2), target)
    explained = user_error_from(caught.value)
    assert "loss: " in str(explained)
    assert "override Trainer.forward" in str(explained)
