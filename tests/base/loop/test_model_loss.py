"""A config without ``loss``: the model gets the target, and computes the loss itself."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from base.loop.evaluate import evaluate, forward
from base.loop.losses import ModelLoss, take_out_predictions
from base.loop.metrics import LOSSES_ONLY, MetricSet
from utils.errors import UserError

CPU = torch.device("cpu")


@dataclass
class Output:
    """As HuggingFace's models return it."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, values, labels=None):
        logits = self.fc(values)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Output(logits, loss)


class Detector(nn.Module):
    """As torchvision's models: losses in training, predictions in evaluation."""

    def forward(self, images, targets=None):
        if self.training:
            return {"box": images.mean(), "score": images.square().mean()}
        return [{"scores": image.flatten()} for image in images]


def make_batch():
    return {"values": torch.randn(4, 3), "labels": torch.tensor([0, 1, 1, 0])}


def test_model_computes_its_loss_and_metrics_get_its_logits():
    model, batch = Classifier(), make_batch()
    criterion = ModelLoss(model, model)
    metrics = MetricSet([lambda output, target: (output.argmax(1) == target).float().mean()])
    numbers = evaluate(model, [batch], criterion, metrics, CPU)
    expected = nn.functional.cross_entropy(model.fc(batch["values"]), batch["labels"])
    assert numbers["loss"] == pytest.approx(expected.item())
    assert 0 <= numbers["<lambda>"] <= 1


def test_with_a_loss_in_the_config_the_loss_gets_the_logits():
    model, batch = Classifier(), make_batch()
    output, target = forward(model, batch)
    assert output.equal(model.fc(batch["values"]))
    assert target is batch["labels"]


def test_detector_logs_its_losses_in_training_and_none_in_evaluation():
    model = Detector()
    batch = (torch.rand(2, 4), [{"boxes": 1}, {"boxes": 2}])
    criterion = ModelLoss(model, model)
    output, target = forward(model, batch)
    assert criterion(output, target).keys() == {"box", "score"}
    assert take_out_predictions(output) is LOSSES_ONLY
    model.eval()
    assert evaluate(model, [batch], criterion.eval(), MetricSet([]), CPU) == {}


def test_model_without_a_loss_is_an_error_in_training():
    model = nn.Linear(3, 2)
    criterion = ModelLoss(model, model)
    with pytest.raises(UserError, match="add a loss, or let the model return one"):
        criterion(torch.rand(4, 2), None)
