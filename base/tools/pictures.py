"""Pictures of samples and of tables of counts, as arrays (H, W, 3) of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

Image = np.ndarray[Any, Any]
INK, RIGHT, WRONG = (40, 40, 40), (20, 130, 60), (200, 30, 40)
TILE = 96  # pixels a side


def to_picture(values: Any, mean: Any = None, std: Any = None) -> Image | None:
    """A tensor (1 or 3, H, W) or (H, W) as a picture: un-normalised by ``mean`` and ``std``, else stretched."""
    array = np.asarray(
        values.detach().cpu().float() if hasattr(values, "detach") else values, dtype=np.float32
    )
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


def grid(
    pictures: Sequence[Image], captions: Sequence[str], right: Sequence[bool | None] | None = None
) -> Image:
    """The pictures in rows of up to eight, each with its caption below: green if right, red if wrong."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    columns, font = min(8, len(pictures)), ImageFont.load_default(12)
    width, height = TILE + 8, TILE + 24
    canvas = Pillow.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = place % columns * width + 4, place // columns * height + 4
        image, scale = Pillow.fromarray(picture), TILE / max(picture.shape[:2])
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        how = Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.BILINEAR
        canvas.paste(image.resize(size, how), (x, y))
        verdict = right[place] if right is not None else None
        colour = INK if verdict is None else RIGHT if verdict else WRONG
        draw.text((x, y + TILE + 1), _fitting(caption, TILE, font), fill=colour, font=font)
    return np.asarray(canvas)


def confusion(matrix: Image, names: Sequence[str]) -> Image:
    """A confusion matrix (C, C) of counts as a picture: rows are targets, columns predictions."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    side, margin, font = (
        (44 if len(names) <= 20 else 24),
        100,
        ImageFont.load_default(12 if len(names) <= 20 else 8),
    )
    canvas = Pillow.new(
        "RGB", (margin + side * len(names) + 8, margin + side * len(names) + 8), "white"
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((8, 4), "rows: target, columns: predicted", fill=INK, font=ImageFont.load_default(10))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for row, name in enumerate(names):
        label = _fitting(name, margin - 12, font)
        draw.text(
            (margin - 6, margin + side * (row + 0.5)), label, fill=INK, font=font, anchor="rm"
        )
        turned = Pillow.new("RGB", (margin - 30, 16), "white")
        ImageDraw.Draw(turned).text(
            (0, 8), _fitting(name, margin - 32, font), fill=INK, font=font, anchor="lm"
        )
        canvas.paste(turned.rotate(90, expand=True), (int(margin + side * (row + 0.5)) - 8, 26))
        for column, count in enumerate(matrix[row]):
            share = float(shares[row, column])
            x, y = margin + side * column, margin + side * row
            fill = tuple(
                int(255 - share * (255 - part)) for part in (RIGHT if row == column else WRONG)
            )
            draw.rectangle((x, y, x + side - 2, y + side - 2), fill=fill)
            if count:
                ink = "white" if share > 0.5 else INK
                draw.text(
                    (x + side / 2, y + side / 2), str(int(count)), fill=ink, font=font, anchor="mm"
                )
    return np.asarray(canvas)


def data_uri(picture: Image, side: int = 160) -> str:
    """A picture as text to stand in a page: small ones as they are (PNG), larger ones as a JPEG of ``side`` pixels."""
    from PIL import Image as Pillow

    image, kind, file = Pillow.fromarray(picture), "png", io.BytesIO()
    if max(image.size) > side:
        image.thumbnail((side, side))
        kind = "jpeg"
    image.save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _fitting(text: str, width: int, font: Any) -> str:
    """``text`` cut to so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
