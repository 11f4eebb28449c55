"""Reads image files by Pillow, and converts 16-bit files correctly, which Pillow does not."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base.data.fitting import locate
from utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
ORIENTATION = 0x0112  # the tag of EXIF
FILES_CHECKED = 32
CLIPS = "makes 16-bit pixels white"
IGNORES = "ignores the orientation that a camera notes"

_warned: set[str] = set()  # training and validation data have the same files


def open_image(path: str | Path, mode: str = "RGB", turn: bool = True) -> Image.Image:
    """Opens an image with 8 bits in each channel. Transparency is dropped.

    Pillow's ``convert`` would clip 16-bit pixels to white. Here they keep their upper 8 bits.

    Args:
        path: the file.
        mode: ``RGB`` or ``L``.
        turn: whether to turn the image as its EXIF orientation says.

    Raises:
        OSError: it cannot be read, or its pixels are 32-bit numbers of an unknown range.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        image: Any = ImageOps.exif_transpose(file) if turn else file.copy()
        is_16_bit = file.mode.startswith("I;16") or (file.mode == "I" and file.format != "TIFF")
    if is_16_bit:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        low, high = image.getextrema()
        if low < 0 or high > 255 or (image.mode == "F" and high <= 1):
            message = "are 32-bit numbers, which have no usual range; the dataset must scale them"
            raise OSError(f"its pixels, from {low:.4g} to {high:.4g}, {message}")
    converted: Image.Image = image.convert(mode)
    return converted


def list_pictures(source: Path) -> list[Path]:
    """Returns the pictures in a folder and its subfolders, sorted by path; or the single file.

    Raises:
        UserError: there is no picture.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: there is no such file or folder")
    found = [path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES]
    pictures = sorted(path for path in found if path.is_file())
    if not pictures:
        raise UserError(f"{source}: holds no picture ({', '.join(SUFFIXES)})")
    return pictures


def read_pictures(source: Path) -> Iterator[tuple[str, torch.Tensor | Exception]]:
    """Reads pictures as (3, H, W) float32 from 0 to 1; a dataset can call it in its ``read``.

    Args:
        source: a picture, or a folder of them.

    Yields:
        The path, and the picture, or the error of one that cannot be read.

    Raises:
        UserError: there is no picture.
    """
    import torch

    for path in list_pictures(source):
        try:
            pixels = np.asarray(open_image(path), dtype=np.float32)
        except Exception as error:  # Pillow may raise anything
            yield str(path), error
        else:
            yield str(path), torch.from_numpy(pixels / 255).permute(2, 0, 1)


def is_torchvision_loader(loader: Any) -> bool:
    """Whether ``loader`` is the one that torchvision gives to an ImageFolder."""
    folder = sys.modules.get("torchvision.datasets.folder")
    return folder is not None and loader in (folder.default_loader, folder.pil_loader)


def warn_if_misread(dataset: Any) -> None:
    """Warns if torchvision's loader misreads a file of an ImageFolder, by a few of the headers.

    Args:
        dataset: of any kind, also in a ``Subset``.
    """
    dataset = locate(dataset)
    if not is_torchvision_loader(getattr(dataset, "loader", None)):
        return
    samples = dataset.samples
    examples: dict[str, str] = {}
    for index in sorted({i * len(samples) // FILES_CHECKED for i in range(FILES_CHECKED)}):
        path = samples[index][0]
        with contextlib.suppress(Exception):  # reading the file will tell
            if fault := find_fault(path):
                examples.setdefault(fault, path)
    faults = " and ".join(f"{fault} (as in {path})" for fault, path in examples.items())
    if faults and faults not in _warned:
        _warned.add(faults)
        message = "%s: torchvision's loader %s; give it another, as loader: {type: %s}"
        name = type(dataset).__name__
        logging.getLogger("data_loader").warning(message, name, faults, "photos.image_loader")


def find_fault(path: str | Path) -> str:
    """Returns what torchvision's loader does wrong with a file; empty if nothing."""
    from PIL import Image

    with Image.open(path) as file:
        if file.mode.startswith(("I", "F")):
            return CLIPS
        is_turned = file.getexif().get(ORIENTATION, 1) != 1
        return IGNORES if is_turned and file.format != "TIFF" else ""  # Pillow turns a TIFF
