"""Pictures of samples, as arrays (H, W, 3) uint8."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Image = NDArray[np.uint8]
NEUTRAL_RGB, CORRECT_RGB, WRONG_RGB = (40, 40, 40), (20, 130, 60), (200, 30, 40)
TILE_PIXELS = 96  # the side of a sample in a grid
CAPTION_PIXELS = 24
GAP_PIXELS = 8
MAX_COLUMNS = 8
MAX_PNG_BYTES = 2**16  # noise makes a PNG many times as large as a JPEG


def to_picture(values: Any, mean: Any = None, std: Any = None) -> Image | None:
    """Turns a model's input into a picture.

    Args:
        values: (1 or 3, H, W) or (H, W), a tensor or an array.
        mean: of the normalisation to undo, for each channel. Without it, values outside of [0, 1]
            are scaled into this range.
        std: of the normalisation to undo, for each channel.

    Returns:
        (H, W, 3) uint8; None if ``values`` have another shape.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().float()
    array = np.asarray(values, dtype=np.float32)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] not in (1, 3) or min(array.shape[1:]) < 2:
        return None
    array = np.nan_to_num(array, posinf=0.0, neginf=0.0)
    if mean is not None and std is not None:
        array = array * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))
    elif array.min() < 0 or array.max() > 1:
        array = (array - array.min()) / max(float(array.max() - array.min()), 1e-9)
    pixels = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(np.moveaxis(pixels, 0, -1), 3 // len(pixels), axis=-1)


def draw_grid(
    pictures: Sequence[Image], captions: Sequence[str], are_correct: Sequence[bool] | None = None
) -> Image:
    """Draws pictures in rows of up to eight, each with a caption below.

    Args:
        pictures: (H, W, 3) uint8 each.
        captions: one for each picture.
        are_correct: whether each prediction is correct. The caption is then green, otherwise red.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    columns = min(MAX_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width, height = TILE_PIXELS + GAP_PIXELS, TILE_PIXELS + CAPTION_PIXELS
    font = ImageFont.load_default(12)
    canvas = Pillow.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x = index % columns * width + GAP_PIXELS // 2
        y = index // columns * height + GAP_PIXELS // 2
        image = Pillow.fromarray(picture)
        scale = TILE_PIXELS / max(picture.shape[:2])
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        filtering = Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.BILINEAR
        canvas.paste(image.resize(size, filtering), (x, y))
        colour = NEUTRAL_RGB
        if are_correct is not None:
            colour = CORRECT_RGB if are_correct[index] else WRONG_RGB
        text = _shorten(caption, TILE_PIXELS, font)
        draw.text((x, y + TILE_PIXELS + 1), text, fill=colour, font=font)
    return np.asarray(canvas)


def data_uri(picture: Image, max_side: int = 160) -> str:
    """Encodes a picture as a ``data:`` URI: PNG, or a JPEG if it is large or was reduced.

    Args:
        picture: (H, W, 3) uint8.
        max_side: a larger picture is reduced to this size, in pixels.
    """
    from PIL import Image as Pillow

    image = Pillow.fromarray(picture)
    file, kind = io.BytesIO(), "png"
    is_reduced = max(image.size) > max_side
    if is_reduced:
        image.thumbnail((max_side, max_side))
    else:
        image.save(file, kind)
    if is_reduced or len(file.getvalue()) > MAX_PNG_BYTES:
        file, kind = io.BytesIO(), "jpeg"
        image.save(file, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _shorten(text: str, pixels: int, font: Any) -> str:
    if font.getlength(text) <= pixels:
        return text
    while text and font.getlength(text + "…") > pixels:
        text = text[:-1]
    return text + "…"
