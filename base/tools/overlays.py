"""Pictures with the classes of their pixels as colours."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch

from base.tools.collectors.masks import LEFT_OUT, ClassMaps
from base.tools.pictures import GAP_PIXELS, MAX_COLUMNS, Image, draw_grid
from base.tools.samples import Samples

# Distinct for people who see few colours, too: Okabe and Ito 2008, https://jfly.uni-koeln.de/color
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
LEFT_OUT_RGB = (0, 0, 0)
LEFT_OUT_NAME = "left out"
BACKGROUNDS = ("background", "__background__", "_background_", "void", "unlabeled")
STRENGTH = 0.6  # of a colour over the picture
GOLDEN_RATIO = 0.618034
SWATCH_PIXELS = 24
GREY = 128  # the background if an input is not a picture
MAX_LEGEND = 32  # classes


class Palette:
    """The colours of classes. The background, or a class that is named ``0``, is not painted.

    Args:
        names: of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        first = self.names[0].casefold() if self.names else ""
        self.has_background = first in (*BACKGROUNDS, "0")
        self.num_unpainted = 1 if self.has_background else 0  # the first classes
        painted = range(len(self.names) - self.num_unpainted)
        rgb = [(0, 0, 0)] * self.num_unpainted + [_choose_colour(number) for number in painted]
        self.rgb = np.array(rgb, dtype=np.float32)

    def paint(self, picture: Image, classes: torch.Tensor) -> Image:
        """Lays the colours of ``classes`` (h, w) over ``picture`` (H, W, 3)."""
        height, width = picture.shape[:2]
        labels = classes.numpy().astype(np.int64)
        rows = np.arange(height) * labels.shape[0] // height
        columns = np.arange(width) * labels.shape[1] // width
        labels = labels[rows[:, None], columns]
        is_left_out = labels == LEFT_OUT
        labels = labels.clip(0, len(self.names) - 1)
        strength = np.full(labels.shape, STRENGTH, dtype=np.float32)
        if self.has_background:
            strength[labels == 0] = 0
        strength = strength[..., None]
        mixed = picture * (1 - strength) + self.rgb[labels] * strength
        mixed[is_left_out] = LEFT_OUT_RGB
        painted: Image = mixed.round().astype(np.uint8)
        return painted

    def list_legend(self, has_left_out: bool) -> list[tuple[str, tuple[int, ...]]]:
        """The names and colours of the classes that have one.

        Args:
            has_left_out: whether the last entry is that of pixels that do not count.
        """
        pairs = zip(self.names, self.rgb.astype(int).tolist(), strict=True)
        shown = [(name, tuple(rgb)) for name, rgb in pairs][self.num_unpainted :]
        left_out = [(LEFT_OUT_NAME, LEFT_OUT_RGB)] if has_left_out else []
        return [*shown[:MAX_LEGEND], *left_out]

    def to_html(self, has_left_out: bool) -> str:
        """The legend for a page."""
        items = []
        for name, rgb in self.list_legend(has_left_out):
            colour = "#" + "".join(f"{value:02x}" for value in rgb)
            style = f"display:inline-block;width:1em;height:1em;background:{colour}"
            items.append(f'<span style="white-space:nowrap"><i style="{style}"></i> ')
            items.append(f"{escape(name)}</span> &emsp;")
        return f'<p class="legend">{"".join(items)}</p>'


def _choose_colour(number: int) -> tuple[int, ...]:
    if number < len(OKABE_ITO):
        text = OKABE_ITO[number].removeprefix("#")
        return tuple(bytes.fromhex(text))
    hue = number * GOLDEN_RATIO % 1
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.75, 0.9))


def middle_picture(samples: Samples, values: Any) -> Image | None:
    """An input of a model as a picture, of a volume (C, D, H, W) its middle; None if it is none."""
    while isinstance(values, torch.Tensor) and values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    return samples.picture(values)


def draw_panels(picture: Image | None, maps: ClassMaps, palette: Palette) -> Image:
    """Draws the input, the target and the prediction side by side."""
    target, prediction = (_take_middle(classes) for classes in maps)
    if picture is None:
        picture = np.full((*target.shape, 3), GREY, dtype=np.uint8)
    gap = np.full((len(picture), max(2, picture.shape[1] // 40), 3), 255, dtype=np.uint8)
    panels = [picture, gap, palette.paint(picture, target), gap]
    return np.concatenate([*panels, palette.paint(picture, prediction)], axis=1)


def draw_rows(
    pictures: Sequence[Image | None],
    maps: Sequence[ClassMaps],
    captions: Sequence[str],
    palette: Palette,
) -> Image:
    """Draws rows of inputs, of targets and of predictions, and a legend below.

    Args:
        pictures: the inputs; None for one that is not a picture.
        maps: their classes.
        captions: for the predictions.
    """
    tiles: list[Image] = []
    texts: list[str] = []
    for start in range(0, len(pictures), MAX_COLUMNS):
        chosen = range(start, min(start + MAX_COLUMNS, len(pictures)))
        columns = [_draw_column(pictures[index], maps[index], palette) for index in chosen]
        of_row = [captions[index] for index in chosen]
        blanks = (min(MAX_COLUMNS, len(pictures)) - len(columns)) % MAX_COLUMNS
        blank = np.full((2, 2, 3), 255, dtype=np.uint8)
        for panel, words in enumerate((["input"], ["target"], of_row)):
            tiles += [column[panel] for column in columns] + [blank] * blanks
            texts += words * (len(columns) // len(words)) + [""] * blanks
    grid = draw_grid(tiles, texts)
    entries = palette.list_legend(any((item.target == LEFT_OUT).any() for item in maps))
    swatches = [np.full((SWATCH_PIXELS, 4 * SWATCH_PIXELS, 3), rgb, np.uint8) for _, rgb in entries]
    legend = draw_grid(swatches, [name for name, _ in entries])
    width = max(grid.shape[1], legend.shape[1])
    joined = [_widen(part, width) for part in (grid, legend)]
    gap = np.full((GAP_PIXELS, width, 3), 255, dtype=np.uint8)
    return np.concatenate([joined[0], gap, joined[1]])


def _draw_column(picture: Image | None, maps: ClassMaps, palette: Palette) -> list[Image]:
    if picture is None:
        picture = np.full((*maps.target.shape, 3), GREY, dtype=np.uint8)
    return [picture, *(palette.paint(picture, classes) for classes in maps)]


def _take_middle(classes: torch.Tensor) -> torch.Tensor:
    while classes.ndim > 2:
        classes = classes[len(classes) // 2]
    return classes


def _widen(picture: Image, width: int) -> Image:
    missing = width - picture.shape[1]
    return np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255)
