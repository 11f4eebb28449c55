"""What the outputs of a model are: classes, labels, numbers, masks, boxes; and their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.loop.task import LABEL_LOSSES, PROBABILITY_LOSSES, simplify_loss
from base.tools.results import Predictions, is_zero_or_one, kind_of
from utils.errors import UserError

MAX_NUMBERS = 10_000  # of a sample, in a row
BOX_KEYS = {"boxes", "labels", "scores"}  # of torchvision's detectors
Row = list[Any]


@dataclass
class Facts:
    """What helps to understand outputs.

    Attributes:
        loss: the name of the loss; see ``describe_loss``.
        task: the config's ``task``, or None.
        classes: their names, or None.
        inverse: turns predicted numbers into real units; None leaves them as they are.
        folder: for files that belong to predictions.
    """

    loss: str
    task: str | None
    classes: list[str] | None
    inverse: Callable[[Any], Any] | None
    folder: Path

    def name(self, label: int) -> str:
        """The name of a class, or its number."""
        is_named = self.classes is not None and 0 <= label < len(self.classes)
        return self.classes[label] if is_named and self.classes else str(label)


class OutputKind:
    """A kind of outputs.

    Args:
        output: of a batch with targets.
        facts: about the model and its data.

    Attributes:
        columns: the titles of the columns, without that of the names.
    """

    def __init__(self, output: Any, facts: Facts) -> None:
        self.facts = facts
        self.columns: list[str] = []

    def list_rows(self, output: Any, names: list[str]) -> list[list[Row]]:
        """Lists the rows of each sample in a batch, without its name.

        Raises:
            ValueError: the output differs in its form from that of the batch with targets.
        """
        raise NotImplementedError


class Categories(OutputKind):
    """Classes or labels: the prediction, and the probability of each of them.

    Args:
        kind: ``classification`` or ``multilabel``.
    """

    def __init__(self, output: torch.Tensor, facts: Facts, kind: str) -> None:
        super().__init__(output, facts)
        self.kind = kind
        first = self._predict(output)
        confidence = ["confidence"] if first.confidence is not None else []
        probabilities = [f"probability_{name}" for name in first.names]
        self.columns = ["prediction", *confidence, *probabilities]

    def _predict(self, output: torch.Tensor) -> Predictions:
        return Predictions(output, self.kind, self.facts.classes, self.facts.loss)

    def list_rows(self, output: torch.Tensor, names: list[str]) -> list[list[Row]]:
        found = self._predict(output)
        assert found.probability is not None
        rows = []
        for index in range(len(names)):
            confidence = [] if found.confidence is None else [float(found.confidence[index])]
            described = found.describe(found.prediction[index])
            rows.append([[described, *confidence, *found.probability[index].tolist()]])
        return rows


class Numbers(OutputKind):
    """Numbers: a column for each of them, in real units if the dataset can tell these.

    Args:
        title: of the columns, which is ``output`` if the numbers are no predictions of the target.
    """

    def __init__(self, output: torch.Tensor, facts: Facts, title: str) -> None:
        super().__init__(output, facts)
        self.inverse = facts.inverse if title == "prediction" else None
        shape = tuple(self._in_units(output).shape[1:])
        self.shape = () if shape == (1,) else shape
        if int(np.prod(shape)) > MAX_NUMBERS:
            message = f"the model gives {shape} numbers for an input, which are too many for a row"
            raise UserError(f"--predict: {message}")
        numbered = ["_".join(map(str, index)) for index in self._list_indices()]
        self.columns = [f"{title}_{number}" if number else title for number in numbered]

    def _list_indices(self) -> list[tuple[int, ...]]:
        return list(product(*(range(1, size + 1) for size in self.shape)))

    def _in_units(self, output: torch.Tensor) -> torch.Tensor:
        return output if self.inverse is None else torch.as_tensor(self.inverse(output))

    def list_rows(self, output: torch.Tensor, names: list[str]) -> list[list[Row]]:
        rows = self._in_units(output).reshape(len(names), -1).tolist()
        if len(rows[0]) != len(self.columns):
            raise ValueError(f"gives {len(rows[0])} numbers, and not {len(self.columns)}")
        return [[row] for row in rows]


class Masks(OutputKind):
    """Classes of pixels: a PNG with the numbers of the classes, and the fraction of each class.

    Args:
        output: (N, C, H, W) scores of classes, or (N, 1, H, W) of the second of two classes.
    """

    def __init__(self, output: torch.Tensor, facts: Facts) -> None:
        super().__init__(output, facts)
        self.count = max(output.shape[1], 2)
        self.used: dict[str, int] = {}
        fractions = [f"fraction_{facts.name(label)}" for label in range(self.count)]
        self.columns = ["mask", *fractions]

    def list_rows(self, output: torch.Tensor, names: list[str]) -> list[list[Row]]:
        if output.shape[1] == 1:
            threshold = 0.5 if self.facts.loss in PROBABILITY_LOSSES else 0.0
            masks = (output[:, 0] > threshold).long().numpy()
        else:
            masks = output.argmax(1).numpy()
        rows = []
        for name, mask in zip(names, masks, strict=True):
            counts = np.bincount(mask.ravel(), minlength=self.count)
            rows.append([[str(self._save(name, mask)), *(counts / mask.size).tolist()]])
        return rows

    def _save(self, name: str, mask: Any) -> Path:
        """Saves a mask under the name of its input, with a number if that is taken."""
        from PIL import Image

        stem = Path(name).stem or "mask"
        number = self.used[stem] = self.used.get(stem, 0) + 1
        path = self.facts.folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        self.facts.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8 if self.count <= 256 else np.uint16)).save(path)
        return path


class Boxes(OutputKind):
    """Boxes in pictures: a row for each box. A picture without one has a row of empty cells."""

    def __init__(self, output: Any, facts: Facts) -> None:
        super().__init__(output, facts)
        self.columns = ["class", "confidence", "x1", "y1", "x2", "y2"]

    def list_rows(self, output: Any, names: list[str]) -> list[list[Row]]:
        rows = []
        for found in output:
            columns = [found[key].tolist() for key in ("labels", "scores", "boxes")]
            boxes = [
                [self.facts.name(label), score, *box]
                for label, score, box in zip(*columns, strict=True)
            ]
            rows.append(boxes or [[None] * len(self.columns)])
        return rows


def choose_kind(output: Any, target: Any, facts: Facts) -> OutputKind:
    """Chooses the kind of a model's outputs by those of a batch with targets.

    Args:
        output: on the CPU, without wrappers; see ``simplify``.
        target: of the batch.
        facts: about the model and its data.

    Raises:
        UserError: the outputs are of no known kind.
    """
    if is_of_boxes(output):
        return Boxes(output, facts)
    if not isinstance(output, torch.Tensor):
        message = f"the model gives a {type(output).__name__}, which has no tensor of a row"
        raise UserError(f"--predict: {message} for each input")
    if not isinstance(target, torch.Tensor):
        return Numbers(output, facts, "output")
    target = target.cpu()
    if output.ndim <= 2 and target.ndim in (1, 2):
        kind = kind_of(output, target, facts.loss, facts.task)
        if kind in ("classification", "multilabel"):
            return Categories(output, facts, kind)
        return Numbers(output, facts, "prediction" if kind == "regression" else "output")
    if output.ndim == 4 and _is_of_pixels(output, target, facts.loss):
        return Masks(output, facts)
    return Numbers(output, facts, "prediction" if output.shape == target.shape else "output")


def _is_of_pixels(output: torch.Tensor, target: torch.Tensor, loss: str) -> bool:
    """Whether outputs (N, C, H, W) are scores of the classes of pixels."""
    pixels = (output.shape[0], *output.shape[2:])
    if tuple(target.shape) not in (pixels, (pixels[0], 1, *pixels[1:])):
        return False
    if not target.is_floating_point():
        return True
    is_binary_loss = simplify_loss(loss) in LABEL_LOSSES
    return output.shape[1] == 1 and (is_binary_loss or is_zero_or_one(target))


def is_of_boxes(output: Any) -> bool:
    """Whether an output has the boxes of each picture, as torchvision's detectors give them."""
    return (
        isinstance(output, list | tuple)
        and bool(output)
        and all(isinstance(item, Mapping) and item.keys() >= BOX_KEYS for item in output)
    )


def simplify(output: Any) -> Any:
    """The tensor of predictions in an output; lists of boxes stay as they are.

    Of a mapping, this is ``out`` (as of torchvision's segmentation models), or its first tensor; of
    a tuple or list, the first tensor. A batch of one may lack its first dimension.
    """
    if is_of_boxes(output):
        return output
    values = [output]
    if isinstance(output, Mapping):
        values = [output["out"]] if "out" in output else list(output.values())
    elif isinstance(output, tuple | list):
        values = list(output)
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if not tensors:
        return output
    return tensors[0].reshape(1) if tensors[0].ndim == 0 else tensors[0]
