"""Pictures with boxes, as arrays (H, W, 3) uint8."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from base.tools.box_scores import Matched, match
from base.tools.collectors.boxes import Boxes
from base.tools.pictures import Image
from base.tools.samples import Samples

FOUND_RGB, MISSED_RGB = (40, 160, 70), (235, 140, 0)
RIGHT_RGB, WRONG_RGB = (30, 90, 220), (215, 30, 40)
TEXT_PIXELS = 12
TILE_PIXELS = 240  # the longer side of a picture in a grid
GAP_PIXELS = 8
MAX_COLUMNS = 4


def draw_boxes(picture: Image, boxes: Matched, get_name: Callable[[int], str], side: int) -> Image:
    """Draws the targets, and the predicted boxes with class and score.

    Args:
        picture: (H, W, 3) uint8.
        boxes: in pixels of the picture.
        get_name: gives the name of a class.
        side: the longer side of the result, in pixels.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    scale = side / max(picture.shape[:2])
    size = [max(1, round(length * scale)) for length in (picture.shape[1], picture.shape[0])]
    image = Pillow.fromarray(picture).resize((size[0], size[1]), Pillow.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(TEXT_PIXELS)

    def add(box: Any, colour: tuple[int, int, int], text: str, is_below: bool) -> None:
        x1, y1, x2, y2 = (float(value) * scale for value in box)
        if not (math.isfinite(x1 + y1 + x2 + y2) and x1 <= x2 and y1 <= y2):
            return
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        corner = (x1 + 3, y2 - TEXT_PIXELS - 4) if is_below else (x1 + 3, y1 + 2)
        draw.rectangle(draw.textbbox(corner, text, font=font), fill=colour)
        draw.text(corner, text, fill="white", font=font)

    for box, label, is_found in zip(boxes.target, boxes.target_label, boxes.is_found, strict=True):
        add(box, FOUND_RGB if is_found else MISSED_RGB, get_name(int(label)), True)
    for row in np.flatnonzero(boxes.is_shown)[::-1]:  # the highest score comes last, on top
        text = f"{get_name(int(boxes.label[row]))} {boxes.score[row]:.2f}"
        add(boxes.box[row], RIGHT_RGB if boxes.is_right[row] else WRONG_RGB, text, False)
    return np.asarray(image)


def draw_box_grid(samples: Samples, inputs: Sequence[Any], boxes: Sequence[Boxes]) -> Image:
    """Draws the inputs of a detector with their boxes, in rows of up to four."""
    from PIL import Image as Pillow

    tiles = []
    for values, item in zip(inputs, boxes, strict=True):
        picture = samples.picture(values)
        if picture is not None:
            tiles.append(draw_boxes(picture, match(item), samples.name, TILE_PIXELS))
    columns = max(1, min(MAX_COLUMNS, len(tiles)))
    step = TILE_PIXELS + GAP_PIXELS
    canvas = Pillow.new("RGB", (columns * step, math.ceil(len(tiles) / columns) * step), "white")
    for index, tile in enumerate(tiles):
        canvas.paste(Pillow.fromarray(tile), (index % columns * step, index // columns * step))
    return np.asarray(canvas)


def draw_targets(samples: Samples, inputs: Sequence[Any], targets: Sequence[Any]) -> Image:
    """Draws the inputs of a detector with the boxes of their targets."""
    none = torch.empty(0, 6)
    labelled = [
        Boxes(torch.cat([target["boxes"], target["labels"][:, None]], dim=1), none)
        for target in targets
    ]
    return draw_box_grid(samples, inputs, labelled)
