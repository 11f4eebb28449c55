"""Whether a picture file can be read as a dataset reads its own pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.data.worker import InMemoryDataset, holds_tensors
from base.tools.samples import Samples
from utils.errors import UserError
from utils.seed import temporary_seed

FILES_COMPARED = 4
TOLERANCE = 1e-4
# A method of a dataset for data without targets. It yields names and inputs.
SIGNATURE = "read(self, path: Path) -> Iterator[tuple[str, Any]]"
LIBRARIES = ("torchvision.", "torch.")  # their datasets prepare pictures in ``transform`` only


def check_reading(samples: Samples, read: Callable[[Path], torch.Tensor]) -> None:
    """Checks that ``read`` makes the same inputs as the dataset, from its files or values.

    Args:
        samples: of a loader for the model's data.
        read: reads a file as an input of the model.

    Raises:
        UserError: the dataset prepares its pictures in another way.
    """
    dataset = samples.inner
    files = _list_files(samples)
    is_of_library = type(dataset).__module__.startswith(LIBRARIES)
    if files:
        fits = all(_reads_alike(samples, index, path, read) for index, path in files)
    elif getattr(dataset, "transform", None) is not None:
        fits = is_of_library or isinstance(dataset, InMemoryDataset) or _only_transforms(samples)
    else:
        fits = (is_of_library or holds_tensors(dataset)) and _are_pixels(samples.raw(0))
    if not fits:
        raise UserError(
            f"--predict: {type(dataset).__name__} prepares its pictures itself, so files cannot "
            "be read in the same way. Let it apply its attribute `transform` to a picture that it "
            "keeps in a list or opens by Pillow, and nothing else; or give it a method "
            f"`{SIGNATURE}`"
        )


def read_some(samples: Samples) -> list[torch.Tensor]:
    """Some inputs of the dataset; those that cannot be read are left out."""
    inputs = map(samples.raw, _choose_indices(samples))
    return [values for values in inputs if isinstance(values, torch.Tensor)]


def _choose_indices(samples: Samples) -> list[int]:
    dataset: Any = samples.dataset
    size = len(dataset) if hasattr(dataset, "__len__") else 0
    chosen = {index * (size - 1) // FILES_COMPARED for index in range(FILES_COMPARED + 1)}
    return sorted(chosen) if size else []


def _list_files(samples: Samples) -> list[tuple[int, Path]]:
    """Some of the dataset's files, with their indices; empty if it lists none."""
    found = []
    for index in _choose_indices(samples):
        path = samples.path(index) or _find_path(samples, index)
        if path is not None and Path(path).is_file():
            found.append((index, Path(path)))
    return found


def _find_path(samples: Samples, index: int) -> str | Path | None:
    """The file of a sample, in any list of files that the dataset has as an attribute."""
    dataset, index = samples.locate(index)
    for values in _list_attributes(dataset):
        if isinstance(values, list | tuple) and len(values) > index:
            item = values[index]
            item = item[0] if isinstance(item, list | tuple) and item else item
            if isinstance(item, str | Path) and Path(item).is_file():
                return item
    return None


def _list_attributes(dataset: Any) -> list[Any]:
    return list(vars(dataset).values()) if hasattr(dataset, "__dict__") else []


def _reads_alike(
    samples: Samples, index: int, path: Path, read: Callable[[Path], torch.Tensor]
) -> bool:
    """Whether a file gives the dataset's sample. Both draw the same random numbers."""
    with temporary_seed(0):
        expected = samples.raw(index)
    try:
        with temporary_seed(0):
            found = read(path)
    except Exception:  # Pillow and the transform may raise anything
        return False
    if not isinstance(expected, torch.Tensor) or expected.shape != found.shape:
        return False
    return torch.allclose(found.float(), expected.float(), atol=TOLERANCE)


def _only_transforms(samples: Samples) -> bool:
    """Whether a sample is exactly what ``transform`` makes of a stored or opened picture."""
    dataset, transform = samples.inner, samples.inner.transform
    seen: list[tuple[Any, Any]] = []

    def note(picture: Any, *others: Any) -> Any:  # others: a mask, or boxes
        result = transform(picture, *others)
        seen.append((picture, result[0] if others else result))
        return result

    try:
        dataset.transform = note
    except AttributeError:  # a property, which applies the transform of something else
        return False
    try:
        with _noting_opened() as opened:
            values = samples.raw(0)
    finally:
        dataset.transform = transform
    if len(seen) != 1:
        return False
    picture, transformed = seen[0]
    is_raw = not isinstance(picture, torch.Tensor) or picture.dtype == torch.uint8
    if not isinstance(values, torch.Tensor) or not isinstance(transformed, torch.Tensor):
        return False
    if not is_raw or values.shape != transformed.shape or not torch.equal(values, transformed):
        return False
    return any(_is_same(item, picture) for item in [*opened, *_list_stored(samples)])


@contextlib.contextmanager
def _noting_opened() -> Iterator[list[Any]]:
    """Yields a list that gets copies of the pictures that Pillow opens."""
    from PIL import Image

    opened: list[Any] = []
    open_image = Image.open

    def note(*args: Any, **kwargs: Any) -> Any:
        image = open_image(*args, **kwargs)
        opened.append(image.copy())
        return image

    Image.open = note
    try:
        yield opened
    finally:
        Image.open = open_image


def _list_stored(samples: Samples) -> Iterator[Any]:
    """What the dataset stores for its first sample, in attributes with an item for each sample."""
    dataset, index = samples.locate(0)
    for values in _list_attributes(dataset):
        try:
            item = values[index] if len(values) == len(dataset) else None
        except (TypeError, KeyError, IndexError):
            continue
        if isinstance(item, dict):
            item = tuple(item.values())
        yield from item if isinstance(item, tuple | list) else (item,)


def _is_same(stored: Any, picture: Any) -> bool:
    """Whether a picture is a stored or opened one, at most in another mode or memory layout."""
    if hasattr(stored, "convert") and hasattr(picture, "mode"):
        stored = stored.convert(picture.mode)
    found, expected = np.squeeze(np.asarray(stored)), np.squeeze(np.asarray(picture))
    if found.ndim == 3 and found.shape != expected.shape:
        found = np.moveaxis(found, 0, -1)
    return found.size > 1 and np.array_equal(found, expected)


def _are_pixels(values: torch.Tensor) -> bool:
    """Whether values are bytes, or fractions of the largest byte."""
    if not values.is_floating_point():
        return values.dtype == torch.uint8
    return bool(values.min() >= 0) and bool(values.max() <= 1)
