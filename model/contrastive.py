"""Contrastive pre-training without labels: SimCLR, its loss, and a score of its features.

Source: Chen et al. 2020, https://arxiv.org/abs/2002.05709.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from base import BaseModel
from utils.distributed import all_gather, process_group, rank, world_size
from utils.errors import UserError

ROWS_AT_ONCE = 1024  # of the distances between features


class Views(NamedTuple):
    """The output for two views of each sample.

    Attributes:
        features: (N, F), of the first view.
        projections: (N, 2, D), of both views.
    """

    features: torch.Tensor
    projections: torch.Tensor


class SimCLR(BaseModel):
    """An encoder, and a small network that projects its features for the loss.

    ``forward`` takes two views (N, …) of each sample and returns ``Views``. For one view, it
    returns the features (N, F).

    Args:
        encoder: a classifier. Its last Linear layer, which gives the classes, is taken out: the
            layer's inputs are the features. The other weights keep their names, so that
            ``transfer.init_from`` finds them for a classifier of the same kind.
        projection: the size of a projection.
    """

    def __init__(self, encoder: nn.Module, projection: int = 32) -> None:
        super().__init__()
        names = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
        if not names:
            raise UserError(f"{type(encoder).__name__} has no Linear layer", key="encoder")
        head: Any = encoder.get_submodule(names[-1])
        parent, _, attribute = names[-1].rpartition(".")
        setattr(encoder.get_submodule(parent), attribute, nn.Identity())
        self.encoder = encoder
        size = head.in_features
        self.projector = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Linear(size, projection)
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor | None = None) -> Any:
        if second is None:
            return self.encoder(first)
        features = self.encoder(torch.cat([first, second]))  # both count for batch norms
        projections = torch.stack(self.projector(features).chunk(2), 1)
        return Views(features[: len(first)], projections)


class NTXent(nn.Module):
    """The normalised, temperature-scaled cross entropy between views, equation 1 of the paper.

    A view should be nearer to the other view of its sample than to all views of the other samples
    in the batch, which are the negatives. In training with several processes, these are the samples
    of all processes, so the loss is that of one process with the same ``batch_size``. In a
    validation, and inside an accumulation window, they are those that the process has at once.

    Args:
        temperature: divides the cosine similarities.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"{temperature} must be above 0", key="temperature")
        self.temperature = temperature

    def forward(self, output: Views, target: Any) -> torch.Tensor:
        """Computes the loss of ``projections`` (N, 2, D), shape (). The target is not used."""
        with torch.autocast(output.projections.device.type, enabled=False):
            projections = F.normalize(output.projections.float(), dim=2)
            everyone, start = projections, 0
            if self.training and world_size() > 1:
                everyone, start = gather(projections)
            anchors, others = projections.flatten(0, 1), everyone.flatten(0, 1)
            logits = anchors @ others.T / self.temperature
            rows = torch.arange(len(anchors), device=logits.device) + 2 * start
            logits = logits.scatter(1, rows[:, None], -torch.inf)  # a view must not match itself
            return F.cross_entropy(logits, rows ^ 1)  # the views of a sample are neighbours


def gather(values: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Gathers the rows of all ranks, with gradients.

    Args:
        values: (N, …). N may differ between the ranks, as in a last batch.

    Returns:
        The rows of all ranks in order, and the number of those before this rank's.
    """
    from torch.distributed.nn.functional import all_gather as gather_tensors

    sizes = all_gather(len(values))
    padding = values.new_zeros(max(sizes) - len(values), *values.shape[1:])
    padded = gather_tensors(torch.cat([values, padding]), process_group())
    rows = torch.cat([rows[:size] for rows, size in zip(padded, sizes, strict=True)])
    return rows, sum(sizes[: rank()])


class NearestNeighbours(Metric):
    """The accuracy of a vote of the nearest neighbours, which tells whether features are useful.

    Each sample gets the class that is most frequent among the ``k`` other samples whose features
    have the largest cosine similarity. No classifier is trained. Features that know nothing about
    the classes give the accuracy of guessing. Source: Wu et al. 2018,
    https://arxiv.org/abs/1805.01978, section 3.4, without weights.

    Args:
        k: the number of neighbours.
    """

    full_state_update = False
    higher_is_better = True
    features: list[torch.Tensor]
    classes: list[torch.Tensor]

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        if k < 1:
            raise UserError(f"{k} must be at least 1", key="k")
        self.k = k
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("classes", default=[], dist_reduce_fx="cat")

    def update(self, output: Views, target: torch.Tensor) -> None:
        """Adds ``features`` (N, F) and classes (N,)."""
        self.features.append(F.normalize(output.features.float(), dim=1))
        self.classes.append(target)

    def compute(self) -> torch.Tensor:
        features, classes = dim_zero_cat(self.features), dim_zero_cat(self.classes)
        hits = torch.zeros((), device=features.device)
        for start in range(0, len(features), ROWS_AT_ONCE):
            rows = torch.arange(start, min(start + ROWS_AT_ONCE, len(features)))
            rows = rows.to(features.device)
            similarity = (features[rows] @ features.T).scatter(1, rows[:, None], -torch.inf)
            nearest = similarity.topk(min(self.k, len(features) - 1), dim=1).indices
            hits += (classes[nearest].mode(1).values == classes[rows]).sum()
        return hits / len(features)
