"""The kinds of outputs of a model (classes, labels, numbers, masks, boxes), and their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from base.data.units import TargetUnits, invert_several
from base.loop.box_metric import name_label
from base.loop.collector import find_kind
from base.loop.rows import Rows
from base.loop.task import TaskFacts
from base.tools.collectors.boxes import predict_boxes
from base.tools.collectors.masks import Form, find_form, name_classes, predict_classes
from base.tools.collectors.masks import Masks as MaskCollector
from base.tools.results import Predictions, kind_of
from utils.errors import UserError

MAX_NUMBERS = 10_000  # of a sample, in a row
Row = list[Any]


@dataclass
class Facts:
    """What helps to understand outputs.

    Attributes:
        task: the loss, and the config's ``task``.
        classes: their names, or None.
        units: convert predicted numbers to real units; None if they are in real units already.
        folder: for files that belong to predictions.
        name_numbers: names each number of a target of a shape.
        tokenizer: of a dataset of texts.
    """

    task: TaskFacts
    classes: list[str] | None
    units: TargetUnits | None
    folder: Path
    name_numbers: Callable[[Sequence[int]], list[str]]
    tokenizer: Any = None

    def name(self, label: int) -> str:
        """The name of a class, or its number."""
        return name_label(label, self.classes or ())


class OutputKind:
    """A kind of outputs.

    Args:
        output: of a batch with targets.
        facts: about the model and its data.

    Attributes:
        columns: the titles of the columns, without that of the names.
        has_positions: whether rows have positions in a picture, which then keeps its size.
    """

    has_positions: ClassVar[bool] = False

    def __init__(self, output: Any, facts: Facts) -> None:
        self.facts = facts
        self.columns: list[str] = []

    def list_rows(self, output: Any, names: list[str], batch: Any) -> list[list[Row]]:
        """Lists the rows of each sample in a batch, without its name.

        Args:
            output: of the model.
            names: of the samples.
            batch: the inputs, on the CPU; any target in it is not theirs.

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
        return Predictions(output, self.kind, self.facts.classes, self.facts.task.loss)

    def list_rows(self, output: torch.Tensor, names: list[str], batch: Any) -> list[list[Row]]:
        found = self._predict(output)
        assert found.probability is not None
        rows = []
        for index in range(len(names)):
            confidence = [] if found.confidence is None else [float(found.confidence[index])]
            described = found.describe(found.prediction[index])
            rows.append([[described, *confidence, *found.probability[index].tolist()]])
        return rows


class Numbers(OutputKind):
    """Numbers: a column for each of them, in real units if the dataset has a target transform.

    Args:
        title: of the columns: ``prediction``, or ``output`` if they do not predict the target.
        are_of_targets: whether they have the targets' unit, as several quantiles of each do.
    """

    def __init__(
        self, output: torch.Tensor, facts: Facts, title: str, are_of_targets: bool = False
    ) -> None:
        super().__init__(output, facts)
        is_prediction = title == "prediction"
        self.units = facts.units if is_prediction or are_of_targets else None
        self.has_several = are_of_targets and not is_prediction
        shape = tuple(self._in_units(output).shape[1:])
        self.shape = () if shape == (1,) else shape
        if int(np.prod(shape)) > MAX_NUMBERS:
            message = f"the model gives {shape} numbers for an input, which are too many for a row"
            advice = "let Trainer.forward return the numbers that a row shall have"
            raise UserError(f"--predict: {message}; {advice}")
        numbered = ["_".join(map(str, index)) for index in self._list_indices()]
        if is_prediction and self.shape:
            numbered = facts.name_numbers(self.shape)
        self.columns = [f"{title}_{number}" if number else title for number in numbered]

    def _list_indices(self) -> list[tuple[int, ...]]:
        return list(product(*(range(1, size + 1) for size in self.shape)))

    def _in_units(self, output: torch.Tensor) -> torch.Tensor:
        if self.units is None:
            return output
        return torch.as_tensor(invert_several(self.units, output, self.has_several))

    def list_rows(self, output: torch.Tensor, names: list[str], batch: Any) -> list[list[Row]]:
        rows = self._in_units(output).reshape(len(names), -1).tolist()
        if len(rows[0]) != len(self.columns):
            found = (
                f"gives {len(rows[0])} numbers, and not {len(self.columns)} as for the test data"
            )
            raise ValueError(f"{found}; let Trainer.forward return equally many for each input")
        return [[row] for row in rows]


class Masks(OutputKind):
    """Classes of pixels: a PNG with the numbers of the classes, and the fraction of each class.

    A volume is a ``.npy`` file.

    Args:
        form: of a batch with targets.
    """

    has_positions = True

    def __init__(self, output: torch.Tensor, facts: Facts, form: Form) -> None:
        super().__init__(output, facts)
        self.form = form
        self.used: dict[str, int] = {}
        names = name_classes(facts.classes, form.n_classes)
        self.columns = ["mask", *(f"fraction_{name}" for name in names)]

    def list_rows(self, output: torch.Tensor, names: list[str], batch: Any) -> list[list[Row]]:
        masks = predict_classes(output, self.form, self.facts.task.loss).numpy()
        rows = []
        for name, mask in zip(names, masks, strict=True):
            counts = np.bincount(mask.ravel(), minlength=self.form.n_classes)
            rows.append([[str(self._save(name, mask)), *(counts / mask.size).tolist()]])
        return rows

    def _save(self, name: str, mask: Any) -> Path:
        """Saves a mask under the name of its input, with a number if that is taken."""
        from PIL import Image

        stem = Path(name).stem or "mask"
        number = self.used[stem] = self.used.get(stem, 0) + 1
        stem = stem if number == 1 else f"{stem}-{number}"
        self.facts.folder.mkdir(parents=True, exist_ok=True)
        mask = mask.astype(np.uint8 if self.form.n_classes <= 256 else np.uint16)
        if mask.ndim == 2:
            path = self.facts.folder / f"{stem}.png"
            Image.fromarray(mask).save(path)
        else:
            path = self.facts.folder / f"{stem}.npy"
            np.save(path, mask)
        return path


class Boxes(OutputKind):
    """Boxes in pictures: a row for each box. A picture without one has a row of empty cells."""

    has_positions = True

    def __init__(self, output: Any, facts: Facts) -> None:
        super().__init__(output, facts)
        self.columns = ["class", "confidence", "x1", "y1", "x2", "y2"]

    def list_rows(self, output: Any, names: list[str], batch: Any) -> list[list[Row]]:
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
    if predict_boxes(output):
        return Boxes(output, facts)
    if not isinstance(output, torch.Tensor):
        message = f"the model gives a {type(output).__name__}, which has no tensor of a row"
        raise UserError(f"--predict: {message} for each input")
    if not isinstance(target, torch.Tensor):
        return Numbers(output, facts, "output")
    target = target.cpu()
    from base.tools.predict.tokens import choose_text_kind  # of this module's classes

    if (texts := choose_text_kind(output, target, facts)) is not None:
        return texts
    collector = find_kind(output, target, facts.task)
    if collector is MaskCollector and (form := find_form(output, target)) is not None:
        return Masks(output, facts, form)
    is_prediction = output.shape == target.shape
    if collector is Rows:
        kind = kind_of(output, target, facts.task.loss, facts.task.task)
        if kind in ("classification", "multilabel"):
            return Categories(output, facts, kind)
        is_prediction = kind == "regression"
    title = "prediction" if is_prediction else "output"
    return Numbers(output, facts, title, output.shape[:-1] == target.shape)


def simplify(output: Any) -> Any:
    """The tensor of predictions in an output; lists of boxes stay as they are.

    Of a mapping, this is ``out`` (as of torchvision's segmentation models), or its first tensor; of
    a tuple or list, the first tensor. A batch of one may lack its first dimension.
    """
    if predict_boxes(output):
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
