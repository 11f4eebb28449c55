"""``test.py --predict``: predictions for picture files that have no labels."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.data.image_file import is_torchvision_loader, open_image
from base.loop.evaluate import forward
from base.loop.reporter import TestSubject
from base.loop.task import describe_loss
from base.tools.reading import check_reading
from base.tools.report import to_csv
from base.tools.results import Predictions, kind_of
from base.tools.samples import Samples
from utils.batch import to_device
from utils.distributed import is_main
from utils.errors import UserError, one_line
from utils.files import write_text

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
BATCH_SIZE = 64
HEADER = ("path", "prediction", "confidence")


def list_pictures(source: Path) -> list[Path]:
    """Returns the pictures in a folder and its subfolders, sorted by path; or the single file.

    Raises:
        UserError: there is no picture.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"--predict {source}: there is no such file or folder")
    found = [path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES]
    pictures = sorted(path for path in found if path.is_file())
    if not pictures:
        raise UserError(f"--predict {source}: holds no picture ({', '.join(SUFFIXES)})")
    return pictures


class PictureReader:
    """Reads a file into the input of a model, as the dataset reads its own files.

    It uses the dataset's ``loader`` and transform, and the shape and dtype of its first sample.

    Args:
        samples: of a loader for the model's data.

    Raises:
        UserError: the data are not pictures, or the dataset prepares them itself.
    """

    def __init__(self, samples: Samples) -> None:
        self.transform = getattr(samples.inner, "transform", None) or self._to_tensor
        self.batch_transform = samples.batch_transform
        first = samples.raw(0)
        is_tensor = isinstance(first, torch.Tensor)
        if not is_tensor or first.ndim != 3 or first.shape[0] not in (1, 3):
            raise UserError(
                "--predict: the model's data are not pictures (1 or 3, H, W), "
                "so it cannot take picture files"
            )
        self.shape = tuple(first.shape)
        self.dtype = first.dtype
        self.open: Callable[[str], Any] = open_image
        self._choose_open(samples)

    def _choose_open(self, samples: Samples) -> None:
        """Opens files as the dataset does, but prefers to read them right where it has the choice.

        Many datasets open files by Pillow, and do not turn photographs as the camera has noted.
        """
        loader = getattr(samples.inner, "loader", None)
        mode = "L" if loader is None and self.shape[0] == 1 else "RGB"
        choices: list[Callable[[str], Any]] = [] if loader is None else [loader]
        if loader is None or is_torchvision_loader(loader):
            choices = [partial(open_image, mode=mode, turn=turn) for turn in (True, False)]
            choices += [] if loader is None else [loader]
        for self.open in choices[:-1]:
            with contextlib.suppress(UserError):
                check_reading(samples, self.read)
                return
        self.open = choices[-1]
        check_reading(samples, self.read)

    def read(self, path: Path) -> torch.Tensor:
        """Reads a file as an input (C, H, W).

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a picture.
        """
        values = torch.as_tensor(self.transform(self.open(str(path))))
        if tuple(values.shape) != self.shape:  # the transform does not change the size
            height, width = self.shape[1:]
            mode = "L" if self.shape[0] == 1 else "RGB"
            resized = open_image(path, mode).resize((width, height))
            values = torch.as_tensor(self.transform(resized))
        return values

    def make_batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Makes a batch (N, C, H, W), with the loader's transform of batches."""
        stacked = torch.stack(inputs)
        if self.batch_transform is None:
            return stacked
        no_labels = torch.zeros(len(stacked), dtype=torch.int64)
        batch: torch.Tensor = self.batch_transform([stacked, no_labels])[0]
        return batch

    def _to_tensor(self, image: Any) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels / 255 if self.dtype.is_floating_point else pixels


def run(subject: TestSubject, source: Path, output: Path | None) -> None:
    """Runs ``test.py --predict SOURCE``."""
    if is_main():
        path = predict(subject, source, output)
        message = "Predicted by the %s of %s; written to %s"
        logging.getLogger("test").info(message, subject.weights, subject.checkpoint, path)


@torch.no_grad()
def predict(subject: TestSubject, source: Path, target: Path | None = None) -> Path:
    """Writes a CSV of path, prediction and confidence.

    A file that cannot be read gets an empty prediction and a warning.

    Args:
        subject: the model and its data. The first batch shows whether the model predicts classes,
            labels or numbers. The name of the loss shows whether outputs are probabilities or
            logits.
        source: a picture, or a folder of them.
        target: the CSV; by default ``test/predict-SOURCE.csv`` in the folder of the run.

    Returns:
        The path of the CSV.

    Raises:
        UserError: no file could be read, the outputs are of an unknown kind, or the CSV cannot be
            written.
    """
    paths = list_pictures(source)
    model, device = subject.model, subject.device
    samples = Samples(subject.first_loader)
    reader = PictureReader(samples)
    model.eval()
    kind = _find_kind(subject)
    rows: dict[Path, list[str]] = {}
    for start in range(0, len(paths), BATCH_SIZE):
        inputs = _read_all(paths[start : start + BATCH_SIZE], reader)
        if inputs:
            output = model(reader.make_batch(list(inputs.values())).to(device)).float().cpu()
            predictions = Predictions(
                output, kind, samples.classes, describe_loss(subject.criterion)
            )
            for index, path in enumerate(inputs):
                rows[path] = predictions.describe_prediction(index)
    if not rows:
        message = f"none of the {len(paths)} files is a picture that can be read"
        raise UserError(f"--predict {source}: {message}")
    table = [HEADER, *((path, *rows.get(path, ["", ""])) for path in paths)]
    default = subject.folder / "test" / f"predict-{source.resolve().name}.csv"
    return write_text(default if target is None else target, to_csv(table))


def _find_kind(subject: TestSubject) -> str:
    batch = to_device(next(iter(subject.first_loader)), subject.device)
    output, target = forward(subject.model, batch)
    kind = ""
    if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
        kind = kind_of(output, target, describe_loss(subject.criterion), subject.task)
    if not kind:
        raise UserError(
            "--predict: the loss does not show whether the model predicts classes, labels or "
            "numbers; set task: classification, multilabel or regression"
        )
    return kind


def _read_all(paths: list[Path], reader: PictureReader) -> dict[Path, torch.Tensor]:
    inputs = {}
    for path in paths:
        try:
            inputs[path] = reader.read(path)
        except Exception as error:  # Pillow and the transform may raise anything
            message = "%s: cannot be read: %s"
            logging.getLogger("test").warning(message, path, one_line(error))
    return inputs
