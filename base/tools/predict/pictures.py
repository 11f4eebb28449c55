"""Reads picture files into inputs of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.data.image_file import is_torchvision_loader, open_image
from base.tools.predict.reading import check_reading, read_some
from base.tools.samples import Samples
from utils.errors import UserError


def is_picture(values: Any) -> bool:
    """Whether an input is a picture (1 or 3, H, W)."""
    return isinstance(values, torch.Tensor) and values.ndim == 3 and values.shape[0] in (1, 3)


class PictureReader:
    """Reads a file into the input of a model, as the dataset reads its own files.

    It uses the dataset's ``loader`` and transform, and the shape and dtype of its first sample.

    Args:
        samples: of a loader for the model's data, whose inputs are pictures.

    Raises:
        UserError: the dataset prepares its pictures itself.
    """

    def __init__(self, samples: Samples) -> None:
        self.transform = getattr(samples.inner, "transform", None) or self._to_tensor
        first = samples.raw(0)
        assert is_picture(first)
        self.shape = tuple(first.shape)
        self.dtype = first.dtype
        self.sizes_differ = len({values.shape for values in read_some(samples)}) > 1
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

    def read(self, path: Path, keeps_size: bool = False) -> torch.Tensor:
        """Reads a file as an input (C, H, W).

        Args:
            path: the file.
            keeps_size: whether a picture may have another size than those of the dataset.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a picture.
        """
        values = torch.as_tensor(self.transform(self.open(str(path))))
        must_resize = not keeps_size and not self.sizes_differ
        if must_resize and tuple(values.shape) != self.shape:  # the transform keeps the size
            height, width = self.shape[1:]
            mode = "L" if self.shape[0] == 1 else "RGB"
            resized = open_image(path, mode).resize((width, height))
            values = torch.as_tensor(self.transform(resized))
        return values

    def _to_tensor(self, image: Any) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels / 255 if self.dtype.is_floating_point else pixels
