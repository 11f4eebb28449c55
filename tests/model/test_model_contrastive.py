"""Contrastive pre-training: the loss, also over ranks, the score of features, the encoder."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from model.contrastive import NearestNeighbours, NTXent, SimCLR, Views
from model.mlp import MLP
from model.model import SmallConvNet
from tests.ranks import in_ranks
from utils.distributed import rank

SIZES = (5, 3)  # of the batches of two ranks


def make_views(count: int, seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)
    return Views(torch.zeros(count, 4), torch.randn(count, 2, 6, generator=generator))


def loss_by_hand(projections: torch.Tensor, temperature: float) -> float:
    """Equation 1 of the paper, term by term, over all positive pairs."""
    views = torch.nn.functional.normalize(projections.double().reshape(-1, 6), dim=1)
    total = 0.0
    for i, view in enumerate(views):
        other = i + 1 if i % 2 == 0 else i - 1
        scores = [math.exp(float(view @ views[k]) / temperature) for k in range(len(views))]
        total -= math.log(scores[other] / (sum(scores) - scores[i]))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_the_one_of_the_paper(temperature: float) -> None:
    views = make_views(7)
    loss = NTXent(temperature)(views, None)
    assert float(loss) == pytest.approx(loss_by_hand(views.projections, temperature), rel=1e-5)


def test_the_loss_has_full_precision_under_autocast() -> None:
    views = make_views(7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(NTXent()(views, None), NTXent()(views, None).float())
        loss = NTXent()(Views(views.features, views.projections), None)
    assert torch.equal(loss, NTXent()(views, None))


def compute_in_rank() -> tuple[float, Any]:
    """The loss of this rank's rows, weighted as the loop does, and their gradient."""
    start, size = (0, SIZES[0]) if rank() == 0 else SIZES
    projections = make_views(sum(SIZES)).projections[start : start + size].requires_grad_()
    loss = NTXent()(Views(projections, projections), None) * size * 2 / sum(SIZES)
    loss.backward()  # type: ignore[no-untyped-call]
    evaluated = NTXent().eval()(Views(projections, projections), None)
    assert float(evaluated) == pytest.approx(loss_by_hand(projections.detach(), 0.5), rel=1e-5)
    return float(loss.detach()), projections.grad


def test_the_negatives_in_training_are_those_of_all_ranks_with_the_gradients_of_one() -> None:
    results = in_ranks(2, compute_in_rank)
    views = make_views(sum(SIZES))
    projections = views.projections.requires_grad_()
    loss = NTXent()(Views(views.features, projections), None)
    loss.backward()  # type: ignore[no-untyped-call]
    of_ranks = sum(result[0] for result in results) / 2
    assert of_ranks == pytest.approx(float(loss.detach()), rel=1e-5)
    gradient = torch.cat([result[1] for result in results]) / 2  # as DDP averages
    torch.testing.assert_close(gradient, projections.grad)


def test_the_score_of_features_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator) + 2 * torch.eye(5)[classes]
    metric = NearestNeighbours(k=1)
    for start in (0, 25):
        rows = slice(start, 25 if start == 0 else 60)
        metric.update(Views(features[rows], features[rows, None]), classes[rows])
    voter = KNeighborsClassifier(1, metric="cosine")
    expected = cross_val_score(voter, features.numpy(), classes.numpy(), cv=LeaveOneOut()).mean()
    assert 0.5 < expected < 1
    assert float(metric.compute()) == pytest.approx(expected)


@pytest.mark.parametrize("make", [lambda: SmallConvNet(width=4), lambda: MLP(6, 3, [8])])
def test_an_encoder_loses_its_last_layer_only(make: Any) -> None:
    classifier, model = make(), SimCLR(make(), projection=5)
    names = {
        name.removeprefix("encoder.") for name in model.state_dict() if "projector" not in name
    }
    head = list(classifier.state_dict())[-2:]
    assert names == set(classifier.state_dict()) - set(head)
    inputs = torch.rand(3, 6) if isinstance(classifier, MLP) else torch.rand(3, 1, 8, 8)
    views = model.eval()(inputs, inputs)
    assert views.projections.shape == (3, 2, 5)
    torch.testing.assert_close(views.projections[:, 0], views.projections[:, 1])
    torch.testing.assert_close(views.features, model(inputs))
