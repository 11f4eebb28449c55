"""What is collected of a segmentation: counts of pixels, never the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch

from base.loop.collector import Collector
from base.loop.task import (
    BINARY_LOSSES,
    CLASS_LOSSES,
    NUMBER_LOSSES,
    PROBABILITY_LOSSES,
    TaskFacts,
    is_zero_or_one,
    simplify_loss,
)

SEGMENTATION = "segmentation"
MIN_SPATIAL_DIMS = 2  # (N, C, L) is a sequence, unless the config says task: segmentation
MAX_COUNTS = 2**22  # of pairs of classes that are counted at once
MAPS_KEPT = 16  # of the first samples, for trackers
MAX_SIDE_PIXELS = 256  # of such a map
LEFT_OUT = -1  # in the maps


class ClassMaps(NamedTuple):
    """The classes of the pixels of one sample, (H, W) int16; ``LEFT_OUT`` where none counts."""

    target: torch.Tensor
    prediction: torch.Tensor


class Form(NamedTuple):
    """The form of a segmentation's batch.

    Attributes:
        n_classes: C, or 2 for one logit.
        pixels: the shape of a sample's pixels: (H, W), or (D, H, W).
        is_logit: whether there is one logit for each pixel.
    """

    n_classes: int
    pixels: tuple[int, ...]
    is_logit: bool


class Masks(Collector):
    """Counts pairs of target and predicted class over all pixels, and the scores of each sample.

    Scores (N, C, H, W) belong to classes (N, H, W) or (N, 1, H, W), or to probabilities of classes
    (N, C, H, W). Logits (N, 1, H, W) or (N, H, W) belong to a target of 0 and 1. With a loss of
    the project, outputs (N, 1, H, W) from 0 to 1 are probabilities. Volumes have one dimension
    more. Pixels whose target is the loss's ``ignore_index`` are left out.

    A sample costs two numbers. The counts stay on the device of the outputs.

    Attributes:
        n_classes: C, or 2 for one logit.
        maps: of the first samples, reduced to a small size.
    """

    can_merge = True

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
            return False
        if facts.task not in (None, SEGMENTATION) or not output.is_floating_point():
            return False
        form = find_form(output, target)
        if form is None or facts.task == SEGMENTATION:
            return form is not None
        loss = simplify_loss(facts.loss)
        if len(form.pixels) < MIN_SPATIAL_DIMS:
            return False
        if form.is_logit:
            is_explicit = output.ndim > len(form.pixels) + 1 and loss not in NUMBER_LOSSES
            return loss in BINARY_LOSSES or (is_explicit and is_zero_or_one(target))
        is_of_classes = target.shape != output.shape and not target.is_floating_point()
        return is_of_classes or loss in CLASS_LOSSES

    def reset(self) -> None:
        self.n_classes = 0
        self._confusion: torch.Tensor | None = None
        self._scores: list[torch.Tensor] = []  # (N, 2) float of each batch
        self._is_broken = False
        self.maps: list[ClassMaps] = []

    @torch.no_grad()
    def add(self, output: Any, target: Any, n_samples: int) -> None:
        are_tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        form = find_form(output, target) if are_tensors and not self._is_broken else None
        if form is None or len(output) != n_samples or self.n_classes not in (0, form.n_classes):
            self._is_broken = True
            return
        n_classes = self.n_classes = form.n_classes
        prediction, classes = self.read(output, target, form)
        known = self.mark_left_out(classes)
        is_class = known != LEFT_OUT
        is_unknown = ~is_class
        if self.facts.ignore_index is not None:
            is_unknown &= classes != self.facts.ignore_index
        self._keep_maps(prediction, known)
        pairs = (classes * n_classes + prediction).where(is_class, n_classes**2)
        pairs = pairs.where(~is_unknown, n_classes**2 + 1).flatten(1)
        size = max(1, MAX_COUNTS // (n_classes**2 + 2))
        for start in range(0, n_samples, size):
            self._add_counts(count_pairs(pairs[start : start + size], n_classes**2 + 2))

    def _add_counts(self, counts: torch.Tensor) -> None:
        """Adds the counts of samples: (N, C * C + 2); the last two are left out and unknown."""
        total = counts.sum(0)
        self._confusion = total if self._confusion is None else self._confusion + total
        square = counts[:, :-2].reshape(-1, self.n_classes, self.n_classes)
        right = square.diagonal(dim1=1, dim2=2).float()
        union = (square.sum(1) + square.sum(2)).float() - right
        accuracy = right.sum(1) / square.sum((1, 2))  # NaN if all pixels are left out
        self._scores.append(torch.stack([(right / union).nanmean(1), accuracy], 1))

    def _keep_maps(self, prediction: torch.Tensor, known: torch.Tensor) -> None:
        kept = slice(0, MAPS_KEPT - len(self.maps))
        if kept.stop > 0:
            pairs = zip(known[kept], prediction[kept], strict=True)
            self.maps += [ClassMaps(to_map(target), to_map(found)) for target, found in pairs]

    def read(
        self, output: torch.Tensor, target: torch.Tensor, form: Form
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The predicted and the right class of each pixel: (N, H, W) int64 each."""
        if target.shape == output.shape and not form.is_logit:
            classes = target.argmax(1)
        else:
            classes = target.round().long() if target.is_floating_point() else target.long()
        prediction = predict_classes(output, form, self.facts.loss)
        return prediction, classes.reshape(prediction.shape)

    def mark_left_out(self, classes: torch.Tensor) -> torch.Tensor:
        """The classes, with ``LEFT_OUT`` where the loss ignores them or the target is no class."""
        is_class = (classes >= 0) & (classes < self.n_classes)
        if self.facts.ignore_index is not None:
            is_class &= classes != self.facts.ignore_index
        return classes.where(is_class, LEFT_OUT)

    @property
    def first_scores(self) -> list[torch.Tensor]:
        """The scores of the batches that ``maps`` come from, where they were computed."""
        return self._scores[:MAPS_KEPT]

    def __len__(self) -> int:
        return 0 if self._is_broken else sum(map(len, self._scores))

    @property
    def confusion(self) -> torch.Tensor:
        """(C, C) int64 counts of pixels on the CPU, with targets as rows."""
        assert self._confusion is not None
        return self._confusion[:-2].reshape(self.n_classes, self.n_classes).cpu()

    @property
    def num_left_out(self) -> int:
        """The number of pixels that the loss ignores."""
        return 0 if self._confusion is None else int(self._confusion[-2])

    @property
    def num_unknown(self) -> int:
        """The number of pixels whose target is neither a class nor ignored by the loss."""
        return 0 if self._confusion is None else int(self._confusion[-1])

    @property
    def scores(self) -> torch.Tensor:
        """(N, 2) float on the CPU: mean IoU and pixel accuracy of each sample, NaN if unknown.

        The mean is over the classes that the sample's target or prediction has.
        """
        return torch.cat(self._scores).cpu()

    def state_dict(self) -> dict[str, Any]:
        assert self._confusion is not None
        confusion = self._confusion.cpu()
        return {"n_classes": self.n_classes, "confusion": confusion, "scores": self.scores}

    def merge(self, states: list[dict[str, Any]]) -> Self:
        merged = type(self)(self.facts)
        if len({state["n_classes"] for state in states}) == 1:
            merged.n_classes = states[0]["n_classes"]
            merged._confusion = torch.stack([state["confusion"] for state in states]).sum(0)
            merged._scores = [state["scores"] for state in states]
        return merged


def count_pairs(pairs: torch.Tensor, size: int) -> torch.Tensor:
    """Counts the values below ``size`` in each row of (N, P) int64: (N, size).

    ``torch.bincount`` would wait for an accelerator, but is faster on the CPU.
    """
    rows = torch.arange(len(pairs), device=pairs.device)[:, None]
    flat = (pairs + rows * size).flatten()
    if pairs.is_cpu:
        return torch.bincount(flat, minlength=len(pairs) * size).reshape(-1, size)
    counts = torch.zeros(len(pairs) * size, dtype=torch.int64, device=pairs.device)
    return counts.scatter_add_(0, flat, torch.ones_like(flat)).reshape(-1, size)


def to_map(classes: torch.Tensor) -> torch.Tensor:
    """Reduces the classes of a sample, (H, W) or a volume, to a small (H, W) int16.

    Of a volume it takes the middle.
    """
    while classes.ndim > 2:
        classes = classes[len(classes) // 2]
    step = -(-max(classes.shape) // MAX_SIDE_PIXELS)
    return classes[..., ::step, ::step].to(torch.int16)


def predict_classes(output: torch.Tensor, form: Form, loss: str) -> torch.Tensor:
    """The predicted class of each pixel: (N, H, W) int64, or (N, D, H, W).

    Args:
        output: of the model, in the form of a batch.
        form: of a batch. The size of its pictures may be another one.
        loss: its name, which shows whether outputs are probabilities or logits.
    """
    if not form.is_logit:
        return output.argmax(1)
    prediction = (output > find_threshold(output, loss)).long()
    return prediction.squeeze(1) if output.ndim > len(form.pixels) + 1 else prediction


def find_threshold(output: torch.Tensor, loss: str) -> torch.Tensor | float:
    """The output above which a pixel is of the class."""
    if loss in PROBABILITY_LOSSES:
        return 0.5
    if simplify_loss(loss) in BINARY_LOSSES:
        return 0.0
    # A loss of the project does not say it. A tensor, because this must not wait for the device.
    are_probabilities = (output >= 0).all() & (output <= 1).all()
    return torch.where(are_probabilities, 0.5, 0.0)


def name_classes(known: Sequence[str] | None, n_classes: int) -> list[str]:
    """The names of the classes of pixels; their numbers if the dataset's names do not fit."""
    names = [] if known is None else list(known)
    if n_classes == 2 and len(names) == 1:  # of one logit
        return ["background", *names]
    return names if len(names) == n_classes else list(map(str, range(n_classes)))


def find_form(output: torch.Tensor, target: torch.Tensor) -> Form | None:
    """The form of a batch; None if the shapes are not those of pixels."""
    found, shape = tuple(output.shape), tuple(target.shape)
    if len(found) < 3 or len(shape) < 2 or found[0] != shape[0]:
        return None
    count, pixels = found[1], found[2:]
    if count > 1 and shape in ((found[0], *pixels), (found[0], 1, *pixels)):
        return Form(count, pixels, False)
    if count == 1 and len(found) > 3 and shape in (found, (found[0], *pixels)):
        return Form(2, pixels, True)
    if count > 1 and len(found) > 3 and shape == found:
        return Form(count, pixels, False)
    return Form(2, found[1:], True) if shape in (found, (found[0], 1, *found[1:])) else None
