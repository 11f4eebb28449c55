"""Pictures of circles, squares and triangles, each with its box: generated, nothing to download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import Dataset

from base.data.image_file import read_pictures

MIN_SIDE, MAX_SIDE = 14, 40  # of a shape, in pixels
MAX_OVERLAP = 0.2  # of the smaller box
ATTEMPTS = 20  # to find room for a shape


class BoxedShapes(Dataset[tuple[torch.Tensor, dict[str, torch.Tensor]]]):
    """Noisy pictures with up to four shapes. A picture depends on ``seed`` and its index only.

    A sample is ``(image, target)`` as torchvision's detectors want it: (3, size, size) float in
    [0, 1], and a dict of ``boxes`` (n, 4) float ``x1, y1, x2, y2`` and ``labels`` (n,) int64. A
    picture without a shape has boxes (0, 4).

    Args:
        num_samples: the number of pictures.
        seed: of all pictures; training and validation need different ones.
        size: the width and height in pixels.
        max_shapes: the largest number of shapes in a picture.
        noise: the standard deviation of the noise.
    """

    classes = ("background", "circle", "square", "triangle")  # by label

    def __init__(
        self,
        num_samples: int,
        seed: int = 0,
        size: int = 96,
        max_shapes: int = 4,
        noise: float = 0.05,
    ) -> None:
        self.num_samples, self.seed, self.size = num_samples, seed, size
        self.max_shapes, self.noise = max_shapes, noise

    def __len__(self) -> int:
        return self.num_samples

    def read(self, path: Path) -> Iterator[tuple[str, Any]]:
        """Reads pictures for ``test.py --predict``."""
        return read_pictures(path)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        random = np.random.default_rng((self.seed, index))
        picture = Image.new("RGB", (self.size, self.size), draw_colour(random))
        boxes: list[list[int]] = []
        labels: list[int] = []
        for _ in range(random.integers(0, self.max_shapes + 1)):
            box = self._find_room(random, boxes)
            if box is not None:
                labels.append(int(random.integers(1, len(self.classes))))
                boxes.append(box)
                draw_shape(picture, self.classes[labels[-1]], box, draw_colour(random))
        values = np.asarray(picture, dtype=np.float32) / 255
        values += random.normal(0, self.noise, values.shape).astype(np.float32)
        image = torch.from_numpy(values.clip(0, 1)).permute(2, 0, 1).contiguous()
        target = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        return image, target

    def _find_room(self, random: np.random.Generator, boxes: list[list[int]]) -> list[int] | None:
        """Returns a box that covers little of the others, or None."""
        for _ in range(ATTEMPTS):
            side = int(random.integers(MIN_SIDE, MAX_SIDE + 1))
            x, y = (int(value) for value in random.integers(0, self.size - side, 2))
            box = [x, y, x + side, y + side]
            if all(measure_overlap(box, other) <= MAX_OVERLAP for other in boxes):
                return box
        return None


def draw_colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


def measure_overlap(box: list[int], other: list[int]) -> float:
    """Returns the area of the intersection, as a fraction of the smaller box."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min(box[2] - box[0], other[2] - other[0]) ** 2
    return max(0, width) * max(0, height) / smaller


def draw_shape(picture: Any, name: str, box: list[int], colour: tuple[int, int, int]) -> None:
    """Draws a shape that fills a box, whose right and lower edges are not part of it."""
    x1, y1, x2, y2 = box[0], box[1], box[2] - 1, box[3] - 1
    draw = ImageDraw.Draw(picture)
    if name == "circle":
        draw.ellipse((x1, y1, x2, y2), fill=colour)
    elif name == "square":
        draw.rectangle((x1, y1, x2, y2), fill=colour)
    else:
        draw.polygon([((x1 + x2) / 2, y1), (x2, y2), (x1, y2)], fill=colour)
