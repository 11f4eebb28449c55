"""``test.py --predict``: what a trained model makes of picture files that have no labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from base.loop.evaluate import forward
from base.loop.metrics import name_of
from base.tools.report import csv_of, write
from base.tools.results import Predictions, kind_of
from base.tools.samples import Samples
from utils.batch import to_device
from utils.errors import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
BATCH = 64


def files_in(source: Path) -> list[Path]:
    """The pictures in a folder and below it, in the order of their names; or the one file.

    Raises:
        UserError: there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"--predict {source}: there is no such file or folder")
    found = sorted(
        path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise UserError(f"--predict {source}: holds no picture ({', '.join(SUFFIXES)})")
    return found


class Reader:
    """Makes of a file what the dataset makes of its own: by its ``loader`` and transform, in the shape of its samples.

    Args:
        samples: whose dataset is taken for the pattern.

    Raises:
        UserError: its samples are no pictures.
    """

    def __init__(self, samples: Samples) -> None:
        self.open = getattr(samples.inner, "loader", self._opened)
        self.transform = getattr(samples.inner, "transform", None) or self._to_tensor
        self.batch_transform = samples.batch_transform
        pattern = samples.raw(0)
        if (
            not isinstance(pattern, torch.Tensor)
            or pattern.ndim != 3
            or pattern.shape[0] not in (1, 3)
        ):
            raise UserError(
                "--predict: the model's data are no pictures (1 or 3, H, W), so no file can stand for them"
            )
        self.shape, self.dtype = tuple(pattern.shape), pattern.dtype

    def read(self, path: Path) -> torch.Tensor:
        """The file as an input (C, H, W). Raises OSError or ValueError if it is no picture."""
        values = torch.as_tensor(self.transform(self.open(str(path))))
        if tuple(values.shape) != self.shape:  # the transform leaves the size as it is
            height, width = self.shape[1:]
            values = torch.as_tensor(
                self.transform(self._opened(str(path)).resize((width, height)))
            )
        return values

    def _opened(self, path: str) -> Any:
        from PIL import Image

        with Image.open(path) as file:
            return file.convert("L" if self.shape[0] == 1 else "RGB")

    def _to_tensor(self, image: Any) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels / 255 if self.dtype.is_floating_point else pixels

    def batch(self, values: list[torch.Tensor]) -> torch.Tensor:
        """What was read as a batch (N, C, H, W), transformed as the loader transforms its own."""
        inputs = torch.stack(values)
        if self.batch_transform is None:
            return inputs
        batch: torch.Tensor = self.batch_transform(
            [inputs, torch.zeros(len(inputs), dtype=torch.int64)]
        )[0]
        return batch


@torch.no_grad()
def predict(
    model: nn.Module,
    source: Path,
    loader: Any,
    criterion: Any,
    device: torch.device,
    folder: Path,
    target: Path | None = None,
) -> Path:
    """Writes a CSV of path, prediction and confidence; a file that cannot be read gets an empty prediction.

    Args:
        source: a picture, or a folder of them.
        loader: of the data that the model was made for; its first batch tells classes from labels and numbers.
        criterion: the loss, whose name tells probabilities from logits.
        folder: of the run, for a ``test/predict-SOURCE.csv``.
        target: the CSV, in place of that.

    Returns:
        The CSV's path.

    Raises:
        UserError: nothing could be read, the outputs are no rows, or the CSV cannot be written.
    """
    paths, samples, done = files_in(source), Samples(loader), 0
    reader = Reader(samples)
    table: list[list[Any]] = [["path", "prediction", "confidence"]]
    model.eval()
    output, truth = forward(model, to_device(next(iter(loader)), device))
    kind = (
        kind_of(output, truth)
        if isinstance(output, torch.Tensor) and isinstance(truth, torch.Tensor)
        else ""
    )
    if not kind:
        raise UserError(
            "--predict: what the model gives are neither scores of classes or labels, nor numbers"
        )
    for start in range(0, len(paths), BATCH):
        chunk = paths[start : start + BATCH]
        read = dict(_readable(chunk, reader))
        rows: dict[Path, list[str]] = {}
        if read:
            output = model(reader.batch(list(read.values())).to(device)).float().cpu()
            made = Predictions(output, kind, samples.classes, name_of(criterion))
            rows = dict(zip(read, map(made.row, range(len(made.prediction))), strict=True))
        table += [[path, *rows.get(path, ["", ""])] for path in chunk]
        done += len(read)
    if not done:
        raise UserError(
            f"--predict {source}: none of the {len(paths)} files is a picture that can be read"
        )
    return write(target or folder / "test" / f"predict-{source.resolve().name}.csv", csv_of(table))


def _readable(paths: list[Path], reader: Reader) -> Iterator[tuple[Path, torch.Tensor]]:
    for path in paths:
        try:
            values = reader.read(path)
        except Exception as error:  # Pillow's, or the transform's, of whatever kind
            logging.getLogger("test").warning("%s: cannot be read: %s", path, one_line(error))
            continue
        yield path, values
