"""Images of every usual kind are read right, or a line says that they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from base import BaseDataLoader
from base.data import image_file
from base.data.image_file import open_image
from data_loader.photos import image_loader, read_image

BYTES = np.arange(0, 256, 8, dtype=np.uint8).reshape(4, 8)
TURNED = 6  # EXIF: the camera was held upright


def write(path: Path, kind: str) -> Path:
    """Writes the picture BYTES as a file of some kind."""
    picture = Image.fromarray(BYTES)
    wide = BYTES.astype(np.uint16) * 256 + 99
    if kind == "pgm16":
        path.write_bytes(b"P5 8 4 65535\n" + wide.astype(">u2").tobytes())
    elif kind == "16":
        Image.fromarray(wide).save(path)
    elif kind == "palette":
        picture.convert("P").save(path, transparency=3)
    elif kind == "turned":
        exif = Image.Exif()
        exif[image_file.ORIENTATION] = TURNED
        picture.convert("RGB").save(path, exif=exif, quality=100, lossless=True)
    else:
        picture.convert(kind).save(path, quality=100)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "16"),
        ("a.tif", "16"),
        ("a.pgm", "pgm16"),
        ("a.png", "palette"),
        ("a.png", "RGBA"),
        ("a.png", "LA"),
        ("a.jpg", "CMYK"),
        ("a.tif", "CMYK"),
        ("a.jpg", "turned"),
        ("a.png", "turned"),
        ("a.webp", "turned"),
        ("a.tif", "turned"),
    ],
)
def test_an_image_of_any_kind_is_read_right(tmp_path: Path, name: str, kind: str) -> None:
    """vision #2218, Pillow #3011: 16-bit images become white."""
    path = write(tmp_path / name, kind)
    expected = np.rot90(BYTES, -1) if kind == "turned" else BYTES
    for found in (read_image(str(path))[0], np.asarray(image_loader("L")(str(path)))):
        pixels = np.asarray(found)
        assert pixels.dtype == np.uint8
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).max() <= 3  # JPEG loses a little


@pytest.mark.parametrize("values", [BYTES / 255.0, BYTES * 100.0, BYTES - 9.0])
def test_numbers_of_an_unknown_range_are_refused(tmp_path: Path, values: Any) -> None:
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(OSError, match=r"its pixels, from .* are 32-bit numbers, which have no"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("kind", "name", "fault"),
    [
        ("16", "1.png", image_file.CLIPS),
        ("turned", "1.jpg", image_file.IGNORES),
        ("L", "1.png", ""),
    ],
)
def test_a_folder_that_torchvision_misreads_gets_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, name: str, fault: str
) -> None:
    (tmp_path / "a").mkdir()
    path = write(tmp_path / "a" / name, kind)
    write(tmp_path / "a" / "2.png", "L")
    loader = BaseDataLoader(ImageFolder(tmp_path), 1, validation_split=1)
    loader.split_validation()
    line = (
        f"ImageFolder: torchvision's loader {fault} (as in {path}); give it another, as "
        "loader: {type: photos.image_loader}"
    )
    assert caplog.messages == ([line] if fault else [])
    BaseDataLoader(ImageFolder(tmp_path, loader=image_loader()), 1)
    assert len(caplog.messages) == bool(fault)
